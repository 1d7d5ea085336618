"""Native sizes: per configuration, per known model, or as the user says; and how much larger a target is."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel, UNetSpatioTemporalConditionModel

from redilate import plan_for
from redilate.pipelines.families import knows_buckets, native_size, ratio_to_native
from tests.full_size import full_size_unet
from tests.models import tiny_sdxl


@pytest.mark.parametrize(("family", "side"), [("sd15", 512), ("sd21", 512), ("sdxl", 1024)])
def test_the_configuration_says_it(family, side):
    assert native_size(full_size_unet(family)) == (side, side)


def test_stable_video_diffusion_is_576_by_1024_whatever_its_configuration_says():
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(sample_size=96)
    assert native_size(unet) == (576, 1024)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("OnomaAIResearch/Illustrious-XL-v1.0", 1536),
        ("models/illustriousXL_v10.safetensors", 1536),
        ("models/illustriousXL_v01.safetensors", 1024),
        ("models/someIllustriousXL_v10", 1024),
        ("OnomaAIResearch/Illustrious-xl-early-release-v0", 1024),
        ("stabilityai/sdxl-turbo", 512),
        ("models/sd_xl_turbo_1.0_fp16", 512),
        ("someone/turbovision-xl", 1024),
    ],
)
def test_checkpoints_whose_configuration_is_their_bases_are_known_by_name(name, side):
    pipe = SimpleNamespace(unet=full_size_unet("sdxl"), config=SimpleNamespace(_name_or_path=name))
    assert native_size(pipe) == (side, side)


def test_the_user_has_the_last_word():
    assert native_size(full_size_unet("sdxl"), 1536) == (1536, 1536)
    assert native_size(full_size_unet("sdxl"), (576, 1024)) == (576, 1024)


def test_each_axis_is_measured_against_its_own_side():
    assert ratio_to_native((1024, 512), (512, 512), buckets=False) == (2, 1)
    assert ratio_to_native((1152, 1024), (576, 1024), buckets=False) == (2, 1)


def test_sdxl_knows_buckets_and_a_small_model_of_its_layout_does_not():
    assert knows_buckets(full_size_unet("sdxl"))
    assert not knows_buckets(full_size_unet("sd15"))
    assert not knows_buckets(tiny_sdxl().unet)


BUCKETS = [(1024, 1024), (768, 1344), (1344, 768), (896, 1152), (640, 1536), (512, 2048), (2048, 512)]


@pytest.mark.parametrize("family", ["sdxl", "sdxl-refiner"])
@pytest.mark.parametrize("size", BUCKETS)
def test_sdxls_own_buckets_are_native(size, family):
    assert max(ratio_to_native(size, (1024, 1024), buckets=True)) < 1.02
    assert plan_for(full_size_unet(family), height=size[0], width=size[1]).is_neutral


def test_a_bucket_of_the_targets_shape_is_the_measure():
    assert ratio_to_native((1536, 2688), (1024, 1024), buckets=True) == pytest.approx(
        (1.984, 1.984), abs=1e-3
    )
    # Longer than any bucket: the longest, 512×2048, is the measure, and only the long side is too long.
    assert ratio_to_native((512, 4096), (1024, 1024), buckets=True) == pytest.approx((1, 2))


@pytest.mark.parametrize("height", [512, 1024, 1536])
def test_with_buckets_too_nothing_shrinks_as_a_side_grows(height):
    ratios = [ratio_to_native((height, width), (1024, 1024), buckets=True) for width in range(256, 8192, 64)]
    for axis in (0, 1):
        along = [ratio[axis] for ratio in ratios]
        assert all(after >= before - 1e-9 for before, after in itertools.pairwise(along))
        assert max(abs(after - before) for before, after in itertools.pairwise(along)) < 0.2
    assert all(math.isfinite(axis) for ratio in ratios for axis in ratio)


def test_a_unet_alone_is_taken_for_eight_pixels_a_latent():
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=(64, 96))
    assert native_size(unet) == (512, 768)
