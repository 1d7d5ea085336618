from __future__ import annotations

from pathlib import Path

import pytest

from redilate.apps.metadata import fingerprint, read_settings
from redilate.apps.web import sessions as module
from redilate.apps.web.draw import Ask
from redilate.apps.web.pictures import Picture
from redilate.apps.web.sessions import Studio, Under, Waiting
from redilate.apps.web.worker import Stopped
from tests.models import tiny_sdxl

ASK = Ask("a red apple", 256, 128, 7, 2, 3.0)


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def studio(pipe, tmp_path: Path):
    studio = Studio(pipe, "tiny", tmp_path)
    yield studio
    studio.close()
    assert list(tmp_path.iterdir()) == []  # nothing of anybody is left


def test_a_picture_is_told_of_step_by_step_and_kept_with_its_settings(studio: Studio):
    session = studio.session("a")
    *before, last = studio.run(session, ASK)
    assert before[0] == Under(0, 2, None)
    assert all(isinstance(news, Under) and news.total == 2 for news in before)
    assert isinstance(last, Picture) and session.shown is last and session.job is None
    settings = read_settings(last.path)
    assert settings["model"] == "tiny" and settings["fingerprint"] == fingerprint(studio.pipe)
    assert (settings["device"], settings["dtype"]) == ("cpu", "float32")
    estimate = studio.speed.seconds(ASK.kind, 256, 128, 2)
    assert estimate == pytest.approx(last.seconds)


def test_the_comparison_is_found_only_when_all_else_is_the_same(studio: Studio):
    session = studio.session("a")
    assert session.partner() is None
    list(studio.run(session, ASK))
    assert session.partner() is None
    (*_, other) = studio.run(session, ASK.other())
    assert session.shown is other
    partner = session.partner()
    assert partner is not None and partner.ask == ASK
    (*_, _) = studio.run(session, Ask("a cactus", 256, 128, 7, 2, 3.0))
    assert session.partner() is None


def test_the_second_visitor_waits_for_the_first_and_leaving_stops(studio: Studio):
    first = studio.run(studio.session("a"), Ask("a red apple", 256, 256, 0, 200, 3.0))
    assert next(first) == Under(0, 200, None)
    second = studio.run(studio.session("b"), ASK)
    assert next(second) == Waiting(1)
    studio.end("a")
    with pytest.raises(Stopped):
        list(first)
    *_, last = second
    assert isinstance(last, Picture)


def test_a_visitor_who_no_longer_listens_stops_what_is_drawn(studio: Studio):
    session = studio.session("a")
    news = studio.run(session, Ask("a red apple", 256, 256, 0, 200, 3.0))
    next(news)
    job = session.job
    assert job is not None
    news.close()
    assert isinstance(job.future.exception(60), Stopped)


def test_old_pictures_are_forgotten(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_PICTURES", 2)
    session = studio.session("a")
    made = [list(studio.run(session, Ask("a red apple", 64, 64, seed, 1, 3.0)))[-1] for seed in range(3)]
    assert session.pictures == made[:0:-1]
    assert [picture.path.exists() for picture in made] == [False, True, True]


def test_a_second_press_takes_nothing_while_a_picture_is_under_way(studio: Studio):
    session = studio.session("a")
    assert session.begin() and session.busy
    assert not session.begin(), "two quick presses draw once"
    session.end()
    assert not session.busy and session.begin()
    session.end()
