"""The published settings, on the modules of full-size U-Nets."""

import pytest

from redilate import RedilateError, plan_for
from redilate.plans.published import SETTINGS, published_plan
from tests.full_size import full_size_unet as full_size


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


SIDES = [256, 384, 512, 576, 640, 768, 896, 1024, 1152, 1280, 1536, 1792, 2048, 2560, 3072]


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_native_size_and_below_are_neutral(family):
    native = full_size(family).config.sample_size * 8
    for width, height in ((native, native), (native // 2, native), (native // 2, native // 4)):
        plan = plan_for(full_size(family), width=width, height=height, preset="published")
        assert plan.is_neutral, (width, height)


@pytest.mark.parametrize("family", ["sd15", "sd21"])
def test_each_axis_takes_its_own_dilation(family):
    unet = full_size(family)
    wide = plan_for(unet, width=2048, height=512, preset="published")
    square = plan_for(unet, width=2048, height=2048, preset="published")
    assert wide.dilation == {name: (1, d) for name, (_, d) in square.dilation.items()}
    tall = plan_for(unet, width=512, height=2048, preset="published")
    assert tall.dilation == {name: (d, 1) for name, (d, _) in square.dilation.items()}
    assert (wide.until, wide.schedule) == (square.until, square.schedule)
    mixed = plan_for(unet, width=2048, height=1024, preset="published")
    for name, (d_h, d_w) in mixed.dilation.items():
        assert d_w == square.dilation.get(name, (1, 1))[1] and d_h in (1, 2)


def falls(family, name):
    """Where the published dilation is itself smaller at 4 than at 2.5 times the native side."""
    outermost = {"sd15": ("down_blocks.1", "up_blocks.2"), "sd21": ("down_blocks.1",), "sdxl": ()}
    return name.startswith(outermost[family])


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_no_dilation_falls_as_the_picture_grows_unless_the_published_one_does(family):
    unet = full_size(family)
    scale = unet.config.sample_size * 8 // 512
    plans = [plan_for(unet, width=side * scale, height=side * scale, preset="published") for side in SIDES]
    for name in plans[-1].dilation:
        grown = [plan.dilation.get(name, (1, 1)) for plan in plans]
        assert falls(family, name) or grown == sorted(grown), name
    strongest = [max((d[0] for d in plan.dilation.values()), default=1) for plan in plans]
    assert strongest == sorted(strongest)


def test_between_published_sizes_the_nearest_ones_schedule_and_damping_are_taken():
    near_four = plan_for(full_size("sdxl"), width=3584, height=3584, preset="published")
    assert near_four.schedule == "progressive" and near_four.noise_damping is not None
    assert 0.3 < near_four.until < 0.4
    near_two = plan_for(full_size("sdxl"), width=2304, height=2304, preset="published")
    assert near_two.schedule == "hold" and near_two.noise_damping is None
    assert "interpolated" in near_two.note


def test_a_family_that_nothing_was_published_for_is_refused():
    with pytest.raises(RedilateError, match=r"published for Stable Diffusion 1\.5, 2\.1 and SDXL only"):
        published_plan(["mid_block.resnets.0.conv1"], None, (2.0, 2.0))


def test_the_native_size_can_be_named():
    plan = plan_for(full_size("sdxl"), width=1024, height=1024, native_size=512, preset="published")
    assert plan == plan_for(full_size("sdxl"), width=2048, height=2048, preset="published")
