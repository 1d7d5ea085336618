"""Under load, at the end of patience and at the end of the server: every request gets one answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from .conftest import Serving

LONG = 1000  # steps that nobody waits for


@pytest.fixture
def aside() -> Any:
    """Runs calls in threads."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


Aside = Callable[..., Future]


def test_a_full_queue_is_a_429_with_a_time_and_those_that_wait_are_served(serving: Serving, aside: Aside):
    with serving(queue=1) as served:
        with served.http.stream(
            "POST",
            "/v1/images/generations",
            json={"prompt": "x", "size": "128x128", "steps": LONG, "stream": True},
        ):
            served.until(drawing=True)
            waiting = aside(served.draw, seed=1)
            served.until(waiting=1)
            refused = served.draw(seed=2)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            with pytest.raises(openai.RateLimitError):
                served.openai.images.generate(prompt="x", size="64x64")
        # Its client has left: the long one ends, and the waiting one is drawn.
        assert waiting.result().json()["data"][0]["seed"] == 1
        assert served.metric("redilate_cancelled_total") == 1


def test_with_no_place_to_wait_one_is_drawn_and_a_second_refused(serving: Serving):
    with serving(queue=0) as served:
        assert served.draw().status_code == 200
        body = {"prompt": "x", "size": "128x128", "steps": LONG, "stream": True}
        with served.http.stream("POST", "/v1/images/generations", json=body):
            served.until(drawing=True)
            assert served.draw().status_code == 429


def test_a_client_that_leaves_stops_its_drawing_or_its_waiting(serving: Serving):
    with serving() as served:
        left_at_once = httpx.Timeout(1.0, read=0.3)
        for cancelled in (1, 2):
            with pytest.raises(httpx.ReadTimeout):
                served.http.post(
                    "/v1/images/generations",
                    json={"prompt": "x", "size": "128x128", "steps": LONG},
                    timeout=left_at_once,
                )
            served.until(drawing=False, waiting=0)
            assert served.metric("redilate_cancelled_total") == cancelled
        body = {"prompt": "x", "size": "128x128", "steps": LONG, "stream": True}
        with served.http.stream("POST", "/v1/images/generations", json=body):
            served.until(drawing=True)
            with pytest.raises(httpx.ReadTimeout):
                served.http.post(
                    "/v1/images/generations", json=body | {"stream": False}, timeout=left_at_once
                )
            served.until(waiting=0)
            assert served.http.get("/healthz").json()["drawing"]
        served.until(drawing=False)
        assert served.draw().status_code == 200


def test_a_request_beyond_its_time_is_a_504_whether_drawn_or_waiting_and_no_client_tries_again(
    serving: Serving, aside: Aside
):
    with serving(timeout=1.0) as served:
        answers = [aside(served.draw, size="128x128", steps=LONG, seed=seed) for seed in range(2)]
        for answer in answers:
            late = answer.result()
            assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
            assert late.headers["x-should-retry"] == "false"
        served.until(drawing=False, waiting=0)


def test_a_stream_beyond_its_time_ends_with_an_error_that_openais_client_raises(serving: Serving):
    with serving(timeout=1.0) as served:
        stream = served.openai.images.generate(
            prompt="x", size="128x128", stream=True, extra_body={"steps": LONG}
        )
        with pytest.raises(openai.APIError, match="given up"):
            list(stream)


def test_at_the_end_what_is_drawn_is_finished_and_what_waits_is_told(
    serving: Serving, aside: Aside, caplog: pytest.LogCaptureFixture
):
    with serving(grace=60) as served:
        drawn = aside(served.draw, steps=20, size="64x64", seed=1)
        served.until(drawing=True)
        waiting = [aside(served.draw, seed=seed) for seed in (2, 3)]
        served.until(waiting=2)
        served.stop()
        for one in waiting:
            told = one.result()
            assert (told.status_code, told.json()["error"]["code"]) == (503, "shutting_down")
            assert told.headers["Retry-After"]
        assert drawn.result().json()["data"][0]["seed"] == 1
        served.thread.join(60)
        assert not served.thread.is_alive()


def test_at_the_end_of_its_grace_what_is_drawn_is_cancelled_and_told_so(serving: Serving, aside: Aside):
    with serving(grace=0.5) as served:
        drawn = aside(served.draw, size="128x128", steps=LONG)
        served.until(drawing=True)
        served.stop()
        told = drawn.result()
        assert (told.status_code, told.json()["error"]["code"]) == (503, "shutting_down")
        served.thread.join(60)
        assert not served.thread.is_alive()


def test_a_fault_while_drawing_is_a_500_without_its_details_and_the_next_picture_is_drawn(
    serving: Serving, tiny: Any
):
    def fault(*_: Any) -> None:
        raise RuntimeError("a secret of the machine")

    with serving(tiny) as served:
        hook = tiny.unet.register_forward_pre_hook(fault)
        answer = served.draw()
        hook.remove()
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        assert "secret" not in answer.text
        assert served.draw().status_code == 200


def test_out_of_memory_is_told_as_such(serving: Serving, tiny: Any):
    import torch

    def fault(*_: Any) -> None:
        raise torch.OutOfMemoryError("9 GiB")

    with serving(tiny) as served:
        hook = tiny.unet.register_forward_pre_hook(fault)
        answer = served.draw()
        hook.remove()
        assert answer.status_code in (400, 503)
        assert "memory" in answer.json()["error"]["message"]
