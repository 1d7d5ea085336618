"""A picture that a safety checker blacked out is known as one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput
from diffusers.pipelines.stable_diffusion_xl import StableDiffusionXLPipelineOutput
from PIL import Image

from redilate.pipelines.support import blacked_out
from tests.models import tiny_sd15

PICTURES = [Image.new("RGB", (8, 8))] * 3


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (StableDiffusionPipelineOutput(PICTURES, [False, True, True]), [1, 2]),
        (StableDiffusionPipelineOutput(PICTURES, [False] * 3), []),
        (StableDiffusionPipelineOutput(PICTURES, None), []),
        (StableDiffusionXLPipelineOutput(PICTURES), []),
        (SimpleNamespace(images=PICTURES, nsfw_detected=[np.True_], watermark_detected=None), [0]),
    ],
)
def test_what_the_result_says_is_read(result: Any, expected: list[int]):
    assert blacked_out(result) == expected


def test_a_pipeline_with_a_checker_is_told_from_one_without():
    pipe = tiny_sd15()
    pipe.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"num_inference_steps": 1, "height": 16, "width": 16}
    assert blacked_out(pipe("a", **asked)) == []
    pipe.run_safety_checker = lambda image, device, dtype: (image, [True] * len(image))
    assert blacked_out(pipe("a", **asked)) == [0]
