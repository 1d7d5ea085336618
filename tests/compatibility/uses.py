"""What the rows of the section "uses" share: their mark, and one call of a small SDXL pipeline."""

import pytest
import torch

import redilate
from tests.compatibility.reference import damped_plan
from tests.compatibility.samples import HEIGHT, WIDTH


def row(what, how=""):
    return pytest.mark.compatibility("uses", what, how)


def draw(pipe, steps=2, seed=3, **changes):
    arguments = {"width": WIDTH, "height": HEIGHT, "guidance_scale": 4.0, "num_inference_steps": steps}
    arguments["generator"] = torch.Generator().manual_seed(seed)
    return pipe("a red apple", output_type="latent", **arguments | changes).images


def draw_damped(pipe, **changes):
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        return draw(pipe, **changes)
