from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.apps.drawing_thread import Cancelled, Job
from redilate.apps.web.draw import PageRequest, Progress, draw
from redilate.apps.web.sizes import Sizes
from tests.models import tiny_sdxl

SIZES = Sizes(native=(256, 256), step=8, even=32)
FORM: dict[str, Any] = {
    "prompt": " a red apple ", "negative": "", "width": 512, "height": 256, "seed": 3, "steps": 2, "guidance": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def events_of(pipe, request: PageRequest) -> list[Any]:
    """What comes of drawing it."""
    events: list[Any] = []
    draw(pipe, Job(request, events.append))
    return events


def test_a_form_becomes_what_the_engine_takes():
    assert PageRequest.checked(SIZES, **FORM) == PageRequest(
        "a red apple",
        width=512,
        height=256,
        seed=3,
        steps=2,
        guidance=3.0,
        strength=1.0,
        from_picture="edit",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": "a" * 4001}, "at most 4000 letters"),
        ({"negative": "a" * 4001}, "at most 4000 letters"),
        ({"width": 510}, "510 is not a multiple of 8"),
        ({"seed": None}, "seed is missing"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "a whole number"),
        ({"steps": 0}, "number of steps is 0; it is a whole number from 1 to 200"),
        ({"steps": 10**9}, "number of steps"),
        ({"guidance": float("inf")}, "guidance is inf"),
        ({"strength": 0}, "strength is 0"),
        ({"method": "magic"}, "unknown method 'magic'; redilate, direct works"),
    ],
)
def test_a_form_that_cannot_be_drawn_is_refused_with_the_field(changed: dict, message: str):
    with pytest.raises(RedilateError, match=message):
        PageRequest.checked(SIZES, **FORM | changed)


def test_the_other_picture_differs_in_its_method_alone():
    for width in (256, 1024):
        request = PageRequest.checked(SIZES, **FORM | {"width": width})
        other = request.other()
        assert other.method == "direct" and other.one_leg and other.other() == request


@pytest.mark.parametrize("method", ["redilate", "direct"])
def test_a_picture_is_the_one_that_generate_makes(pipe, method):
    request = PageRequest.checked(SIZES, **FORM | {"method": method})
    *steps, made = events_of(pipe, request)
    expected = redilate.generate(
        pipe,
        "a red apple",
        width=512,
        height=256,
        seed=3,
        steps=2,
        guidance=3,
        method=method,
        strength=None if method == "direct" else 1.0,
    )
    assert np.array_equal(made.images[0], expected.images[0])
    assert made.settings == expected.settings
    assert steps == [Progress(1, 2), Progress(2, 2)]


def test_a_stopped_picture_ends_at_its_next_step_and_leaves_the_pipeline_clean(pipe):
    request = PageRequest.checked(SIZES, **FORM | {"steps": 50})
    seen: list[Any] = []

    def put(event: Any) -> None:
        seen.append(event)
        job.cancel()

    job = Job(request, put)
    with pytest.raises(Cancelled):
        draw(pipe, job)
    assert seen == [Progress(1, 50)]
    # A pipeline that is still re-dilated would be refused.
    redilate.generate(pipe, "a red apple", steps=1, method="direct")


def test_a_picture_to_start_from_is_followed_as_far_as_the_strength_says(pipe):
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    request = PageRequest.checked(SIZES, **FORM | {"image": image, "strength": 0.5, "steps": 4})
    step, *_, made = events_of(pipe, request)
    assert request.large_steps == 2 and step == Progress(1, 2)
    assert made.images[0].size == (512, 256) and made.settings["strength"] == 0.5


def test_the_slider_is_the_engines_own_strength(pipe):
    request = PageRequest.checked(SIZES, **FORM | {"height": 512, "strength": 0.5})
    *_, made = events_of(pipe, request)
    assert made.settings["strength"] == 0.5 and len(made.settings["legs"]) == 2 and not request.one_leg
