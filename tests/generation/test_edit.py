"""`edit`: diffusers' own image-to-image, re-dilated, and a pipeline left as it was."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForImage2Image
from PIL import Image

import redilate
from redilate import Plan, RedilateError
from redilate.core.patch import find_patch
from redilate.generation.edit import edit
from redilate.pipelines.schedulers import leg_scheduler
from redilate.pipelines.support import encode
from tests.models import tiny_sd15, tiny_sdxl

PICTURE = Image.linear_gradient("L").convert("RGB")  # 256 × 256


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request: pytest.FixtureRequest) -> Any:
    return request.param()


def stock(pipe: Any, image: Image.Image, ours: Any) -> Image.Image:
    """diffusers' own pipeline, handed the steps of `ours`."""
    (leg,) = ours.drawing.legs
    other = AutoPipelineForImage2Image.from_pipe(pipe, scheduler=leg_scheduler(pipe.scheduler))
    other.set_progress_bar_config(disable=True)
    return other(
        prompt="apple",
        negative_prompt="pear",
        image=encode(other, image),
        **leg.schedule.arguments,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(5),
    ).images[0]


ASKED: dict[str, Any] = {"strength": 0.5, "steps": 4, "guidance": 3.0, "negative": "pear", "seed": 5}


def test_direct_is_the_stock_pipeline_bit_for_bit(pipe: Any):
    ours = edit(pipe, "apple", PICTURE, method="direct", **ASKED)
    assert ours.images[0].tobytes() == stock(pipe, PICTURE, ours).tobytes() and ours.plan is None


def test_a_larger_size_is_the_stock_pipeline_re_dilated(pipe: Any):
    # Half of the strength starts below the default plan's noise level: this one goes further down.
    default = redilate.plan_for(pipe, width=512, height=256, strength=1)
    plan = Plan.model_validate(default.model_dump() | {"until": 0.1})
    ours = edit(pipe, "apple", PICTURE, width=512, height=256, plan=plan, **ASKED)
    large = PICTURE.resize((512, 256), Image.Resampling.LANCZOS)
    with redilate.apply(pipe, plan):
        expected = stock(pipe, large, ours)
    assert ours.images[0].tobytes() == expected.tobytes() != stock(pipe, large, ours).tobytes()
    assert (
        ours.settings["strength"] == 0.5
        and Plan.model_validate(ours.settings["legs"][-1]["plan"]) == ours.plan
    )
    assert find_patch(pipe.unet) is None


def test_steps_and_latents_are_reported_for_the_share_that_is_taken(pipe: Any):
    seen = []
    edit(
        pipe, "apple", PICTURE, strength=0.5, steps=4, width=64, height=128,
        on_step=lambda done, total: seen.append((done, total)), on_latents=lambda latents: seen.append(latents.shape),
    )  # fmt: skip
    assert seen == [(1, 2), (1, 4, 16, 8), (2, 2), (1, 4, 16, 8)]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"strength": 0.0}, "strength is 0"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"width": 250}, "such as 248x256"),
        ({"method": "direct", "plan": Plan()}, "direct inference uses none"),
        ({"plan": Plan(dilation={"no.such": (2, 2)})}, r"no\.such"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(pipe: Any, wrong: dict, says: str):
    calls = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(RedilateError, match=says):
        edit(pipe, "apple", PICTURE, **({"steps": 4} | wrong))
    hook.remove()
    assert not calls


def test_a_picture_turned_by_its_exif_keeps_its_upright_shape(pipe: Any):
    image = PICTURE.resize((96, 64))
    image.getexif()[0x0112] = 6  # lying on its side
    assert edit(pipe, "fox", image, steps=2).images[0].size == (64, 96)


def test_a_mask_of_16_bits_is_scaled_and_not_clipped(pipe: Any):
    grey = Image.new("L", PICTURE.size, 100)
    deep = Image.fromarray(np.full(PICTURE.size, 100 * 257, dtype=np.uint16))
    drawn = [edit(pipe, "fox", PICTURE, mask=mask, steps=2).images[0] for mask in (grey, deep)]
    assert drawn[0].tobytes() == drawn[1].tobytes()


def test_a_picture_that_cannot_be_read_to_its_end_is_refused(pipe: Any):
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(file, "JPEG")
    with pytest.raises(RedilateError, match="cut short"):
        edit(pipe, "fox", Image.open(io.BytesIO(file.getvalue()[:-200])), steps=2)
