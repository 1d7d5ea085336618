"""The published settings, on the modules of full-size U-Nets."""

from functools import cache

import pytest

from redilate import RedilateError, plan_for
from redilate.plans.published import SETTINGS
from tests.full_size import full_size_unet

full_size = cache(full_size_unet)


def resnets(block, count):
    return {f"{block}.resnets.{index}.conv{which}" for index in range(count) for which in (1, 2)}


def down(index, last=False):
    sampler = set() if last else {f"down_blocks.{index}.downsamplers.0.conv"}
    return resnets(f"down_blocks.{index}", 2) | sampler


def up(index, last=False):
    sampler = set() if last else {f"up_blocks.{index}.upsamplers.0.conv"}
    return resnets(f"up_blocks.{index}", 3) | sampler


MID = resnets("mid_block", 2)


def dilated(*groups):
    """{names: d, …} as one mapping of names to (d, d)."""
    return {name: (d, d) for names, d in groups for name in names}


INNER = (down(1), down(2), down(3, last=True), MID, up(0), up(1), up(2))
EXPECTED = {
    ("sd15", 1024): (0.4, "hold", dilated(*((names, 2) for names in INNER)), None),
    ("sd21", 1024): (0.6, "hold", dilated(*((names, 2) for names in INNER)), None),
    ("sd15", 1280): (0.3, "hold", dilated(*((names, 2.5) for names in INNER)), None),
    ("sd21", 1280): (0.4, "hold", dilated(*((names, 2.5) for names in INNER)), None),
    ("sd15", 2048): (
        0.3,
        "progressive",
        dilated((down(1), 2), (down(2), 3), (down(3, last=True), 4), (MID, 4), (up(0), 4), (up(1), 3), (up(2), 2)),
        dilated((down(2), 3), (down(3, last=True), 4), (MID, 4), (up(0), 4), (up(1), 3)),
    ),
    ("sd21", 2048): (
        0.26,
        "progressive",
        dilated(
            (down(2), 3), (down(3, last=True), 4), (MID, 4), (up(0), 4), (up(1), 4), (up(2), 3), (up(3, last=True), 2)
        ),
        dilated((MID, 2), (up(0), 2)),
    ),
    ("sdxl", 2048): (0.4, "hold", dilated((MID, 2), (up(0), 2)), None),
    ("sdxl", 2560): (0.4, "hold", dilated((MID, 2.5), (up(0), 2.5)), None),
    ("sdxl", 4096): (
        0.3,
        "progressive",
        dilated((down(2, last=True), 4), (MID, 4), (up(0), 4), (up(1), 3), (up(2, last=True), 2)),
        dilated((MID, 2), (up(0), 2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("family", "size"), EXPECTED)
def test_published_settings_land_on_the_right_modules(family, size):
    until, schedule, dilation, mild = EXPECTED[family, size]
    unet = full_size(family)
    plan = plan_for(unet, width=size, height=size, preset="published")
    assert plan.dilation == dilation
    assert plan.dilation.keys() <= dict(unet.named_modules()).keys()
    assert (plan.until, plan.schedule) == (until, schedule)
    assert (plan.noise_damping.dilation if plan.noise_damping else None) == mild


def test_every_published_pair_is_checked_above():
    native = {"sd15": 512, "sd21": 512, "sdxl": 1024}
    assert {(family, int(ratio * native[family])) for family, ratio in SETTINGS} == set(EXPECTED)


def test_a_size_that_was_never_published_is_refused_with_those_that_were():
    with pytest.raises(RedilateError, match=r"published for sdxl: squares of 2, 2\.5, 4 times"):
        plan_for(full_size("sdxl"), width=2048, height=1024, preset="published")


def test_the_native_size_can_be_named():
    plan = plan_for(full_size("sdxl"), width=1024, height=1024, native_size=512, preset="published")
    assert plan == plan_for(full_size("sdxl"), width=2048, height=2048, preset="published")
