"""The names that ComfyUI's convolutions get are diffusers' own."""

import pytest
import torch

from integrations.comfyui.layout import convolutions
from redilate import RedilateError
from redilate.plans.plan import convolutions as of_diffusers
from tests.integrations.comfyui.host import UNetModel
from tests.models import tiny_sd15, tiny_sdxl


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def test_every_convolution_has_the_name_that_it_has_in_diffusers(make):
    theirs = of_diffusers(make().unet)
    ours = convolutions(UNetModel(make().unet))
    assert list(ours) == list(theirs)
    for name, convolution in ours.items():
        assert torch.equal(convolution.weight, theirs[name][0].weight), name


def test_a_diffusers_unet_is_told_that_it_is_another_layout():
    with pytest.raises(RedilateError, match="UNet2DConditionModel is no U-Net"):
        convolutions(tiny_sd15().unet)
