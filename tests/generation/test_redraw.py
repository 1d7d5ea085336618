from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.generation.redraw import redraw
from tests.models import tiny_sd15, tiny_sdxl

PICTURE = Image.effect_noise((520, 260), 60).convert("RGB")


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_is_diffusers_own_pipeline_re_dilated(pipe):
    steps: list[tuple[int, int]] = []
    made = redraw(
        pipe, "an apple", PICTURE, strength=0.5, seed=3, steps=4, on_step=lambda *at: steps.append(at)
    )
    own = StableDiffusionXLImg2ImgPipeline(**pipe.components)
    own.set_progress_bar_config(disable=True)
    with redilate.apply(own):
        expected = own(
            prompt="an apple",
            image=PICTURE.resize((520, 256), Image.Resampling.LANCZOS),
            strength=0.5,
            num_inference_steps=4,
            guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(3),
        ).images[0]
    assert np.array_equal(made.images[0], expected)
    assert steps == [(1, 2), (2, 2)]
    assert made.settings["strength"] == 0.5 and made.plan is not None


def test_direct_differs_and_the_pipeline_is_left_clean(pipe):
    asked = {"strength": 1.0, "steps": 2, "width": 512, "height": 512}
    redilated = redraw(pipe, "an apple", PICTURE, **asked)
    direct = redraw(pipe, "an apple", PICTURE, method="direct", **asked)
    assert direct.plan is None
    assert not np.array_equal(redilated.images[0], direct.images[0])


def test_stable_diffusion_1_5_works_too():
    pipe = tiny_sd15()
    pipe.set_progress_bar_config(disable=True)
    assert redraw(pipe, "an apple", PICTURE, steps=2, width=256, height=512).images[0].size == (256, 512)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strength": 0.0}, "strength is 0.0; it is above 0 and at most 1"),
        ({"strength": 1.5}, "strength is 1.5"),
        (
            {"strength": 0.1, "steps": 5},
            "5 steps at strength 0.1 leave none to take; 10 steps are the fewest",
        ),
        ({"width": 510}, "510"),
        ({"method": "magic"}, "unknown method"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(pipe, changed: dict, message: str):
    with pytest.raises(RedilateError, match=message):
        redraw(pipe, "an apple", PICTURE, **changed)
