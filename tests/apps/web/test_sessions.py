from __future__ import annotations

import time
from pathlib import Path

import pytest

from redilate.apps.command_line import PipelineOptions
from redilate.apps.drawing_thread import Cancelled
from redilate.apps.recorded_settings import read_settings
from redilate.apps.web import sessions as module
from redilate.apps.web.draw import PageRequest, Progress
from redilate.apps.web.sessions import Backend, Picture, Waiting
from redilate.pipelines.families import weights_fingerprint
from tests.models import tiny_sdxl


def request(prompt: str = "a red apple", width: int = 256, height: int = 128, seed: int = 7, steps: int = 2):
    return PageRequest(prompt, width=width, height=height, seed=seed, steps=steps, guidance=3.0, strength=1.0)


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def backend(pipe, tmp_path: Path):
    backend = Backend(pipe, "tiny", tmp_path)
    yield backend
    backend.close()
    assert list(tmp_path.iterdir()) == []  # nothing of anybody is left


def test_a_picture_is_told_of_step_by_step_and_kept_with_its_settings(backend: Backend, pipe):
    session = backend.session("a")
    *before, last = backend.run(session, request())
    assert before[0] == Progress(0, 2, None)
    assert all(isinstance(news, Progress) and news.total == 2 for news in before)
    assert isinstance(last, Picture) and session.shown is last and session.job is None
    settings = read_settings(last.path)
    assert settings["model"] == "tiny" and settings["fingerprint"] == weights_fingerprint(pipe)
    assert (settings["device"], settings["dtype"]) == ("cpu", "float32")
    estimate = backend.speed.seconds(request().kind, 256 * 128, 2)
    assert estimate == pytest.approx(last.seconds)


def test_a_picture_records_the_autoencoder_and_the_loras_that_the_page_was_given(pipe, tmp_path: Path):
    backend = Backend(pipe, "tiny", tmp_path, PipelineOptions(vae="fp16-fix", lora=["owner/style:0.8"]))
    *_, last = backend.run(backend.session("a"), request())
    assert isinstance(last, Picture)
    settings = read_settings(last.path)
    backend.close()
    assert (settings["vae"], settings["lora"]) == ("fp16-fix", ["owner/style:0.8"])


def test_the_comparison_is_found_only_when_all_else_is_the_same(backend: Backend):
    session = backend.session("a")
    assert session.partner() is None
    list(backend.run(session, request()))
    assert session.partner() is None
    (*_, other) = backend.run(session, request().other())
    assert session.shown is other
    partner = session.partner()
    assert partner is not None and partner.request == request()
    (*_, _) = backend.run(session, request("a cactus"))
    assert session.partner() is None


def test_the_second_visitor_waits_for_the_first_and_leaving_stops(backend: Backend):
    first = backend.run(backend.session("a"), request(height=256, steps=200))
    assert next(first) == Progress(0, 200, None)
    second = backend.run(backend.session("b"), request())
    assert next(second) == Waiting(1)
    backend.end("a")
    with pytest.raises(Cancelled):
        list(first)
    *_, last = second
    assert isinstance(last, Picture)


def test_a_visitor_who_no_longer_listens_stops_what_is_drawn(backend: Backend):
    session = backend.session("a")
    news = backend.run(session, request(height=256, steps=200))
    next(news)
    news.close()
    assert session.job is None
    for _ in range(600):
        if backend.thread.cancelled:
            break
        time.sleep(0.1)
    assert backend.thread.cancelled == 1 and not session.pictures


def test_old_pictures_are_forgotten(backend: Backend, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_PICTURES", 2)
    session = backend.session("a")
    made = [
        list(backend.run(session, request(width=64, height=64, seed=seed, steps=1)))[-1] for seed in range(3)
    ]
    assert session.pictures == made[:0:-1]
    assert [picture.path.exists() for picture in made] == [False, True, True]


def test_a_second_press_takes_nothing_while_a_picture_is_under_way(backend: Backend):
    session = backend.session("a")
    assert session.lock.acquire(blocking=False) and session.lock.locked()
    assert not session.lock.acquire(blocking=False), "two quick presses draw once"
    session.lock.release()
    assert not session.lock.locked() and session.lock.acquire(blocking=False)
    session.lock.release()
