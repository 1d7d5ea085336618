from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.apps.web.draw import Ask, Drawn, Step, draw
from redilate.apps.web.sizes import Sizes
from redilate.apps.web.worker import Stopped, Worker
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


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_a_form_becomes_what_the_engine_takes():
    assert Ask.checked(SIZES, **FORM) == Ask("a red apple", 512, 256, 3, 2, 3.0)


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
        ({"way": "magic"}, "unknown method 'magic'; redilate, direct works"),
    ],
)
def test_a_form_that_cannot_be_drawn_is_refused_with_the_field(changed: dict, message: str):
    with pytest.raises(RedilateError, match=message):
        Ask.checked(SIZES, **FORM | changed)


def test_the_other_picture_differs_in_its_method_alone():
    for width in (256, 1024):
        ask = Ask.checked(SIZES, **FORM | {"width": width})
        other = ask.other()
        assert other.way == "direct" and other.one_leg and other.other() == ask


@pytest.mark.parametrize("way", ["redilate", "direct"])
def test_a_picture_is_the_one_that_generate_makes(pipe, worker: Worker, way):
    ask = Ask.checked(SIZES, **FORM | {"way": way})
    job = worker.submit(lambda job: draw(pipe, ask, job))
    drawn: Drawn = job.future.result(60)
    expected = redilate.generate(
        pipe,
        "a red apple",
        width=512,
        height=256,
        seed=3,
        steps=2,
        guidance=3,
        method=way,
        strength=None if way == "direct" else 1.0,
    )
    assert np.array_equal(drawn.image, expected.images[0])
    assert drawn.settings == expected.settings
    assert [job.next_report(0) for _ in range(3)] == [Step(1, 2), Step(2, 2), None]


def test_a_stopped_picture_ends_at_its_next_step_and_leaves_the_pipeline_clean(pipe, worker: Worker):
    ask = Ask.checked(SIZES, **FORM | {"steps": 50})
    job = worker.submit(lambda job: draw(pipe, ask, job))
    assert job.next_report(60) == Step(1, 50)
    job.stop()
    with pytest.raises(Stopped):
        job.future.result(60)
    taken = 1
    while job.next_report(0) is not None:
        taken += 1
    assert taken < 50
    # A pipeline that is still re-dilated would be refused.
    redilate.generate(pipe, "a red apple", steps=1, method="direct")


def test_a_picture_to_start_from_is_followed_as_far_as_the_strength_says(pipe, worker: Worker):
    image = Image.effect_noise((300, 200), 80)
    ask = Ask.checked(SIZES, **FORM | {"image": image, "strength": 0.5, "steps": 4})
    job = worker.submit(lambda job: draw(pipe, ask, job))
    drawn: Drawn = job.future.result(60)
    assert ask.taken == 2 and job.next_report(0) == Step(1, 2)
    assert drawn.image.size == (512, 256) and drawn.settings["strength"] == 0.5


def test_the_slider_is_the_engines_own_strength(pipe, worker: Worker):
    ask = Ask.checked(SIZES, **FORM | {"height": 512, "strength": 0.5})
    job = worker.submit(lambda job: draw(pipe, ask, job))
    drawn: Drawn = job.future.result(120)
    assert drawn.settings["strength"] == 0.5 and len(drawn.settings["legs"]) == 2 and not ask.one_leg
