from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redilate import RedilateError
from redilate.apps.web.sizes import MOST_AREA, SCALES, SHAPES, Sizes
from tests.models import tiny_sd15, tiny_sdxl

SDXL = Sizes(native=(1024, 1024), step=8, even=32)
SMALL = Sizes(native=(256, 256), step=8, even=32)


def test_a_pipeline_tells_its_sizes():
    assert Sizes.of(tiny_sdxl()) == SMALL
    assert Sizes.of(tiny_sd15()).even == 64


@pytest.mark.parametrize("sizes", [SDXL, SMALL], ids=["sdxl", "small"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
def test_presets_have_about_their_area_and_shape_and_can_be_drawn(sizes: Sizes, scale: str, shape: str):
    width, height = sizes.offered(scale, shape)
    wide, high = SHAPES[shape]
    assert sizes.check(width, height) == (width, height)
    assert width % sizes.even == height % sizes.even == 0
    assert width * height == pytest.approx(sizes.native_area * SCALES[scale] ** 2, rel=0.13)
    assert math.log(width / height) == pytest.approx(math.log(wide / high), abs=0.16)
    assert (width > height) == (wide > high)


def test_the_native_shape_gives_exact_multiples_also_where_they_are_uneven():
    odd = Sizes(native=(1000, 1000), step=8, even=32)
    assert odd.offered("native", "1:1") == (1000, 1000)
    assert odd.offered("2×", "1:1") == (2000, 2000)


@given(st.integers(1, 400), st.floats(0.1, 10))
def test_the_other_side_is_a_multiple_and_the_nearest_one(units: int, ratio: float):
    side = SMALL.other_side(8 * units, ratio)
    assert side % 8 == 0 and side >= 8
    assert side == 8 or abs(side - 8 * units * ratio) <= 4 + 1e-6


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (None, 256, "width is missing"),
        (256, None, "height is missing"),
        (float("nan"), 256, "width is missing"),
        (250, 256, "250 is not a multiple of 8; 248 works"),
        (256, -8, "height -8 is not a multiple"),
        (0, 256, "width 0 is not a multiple of 8; 8 works"),
        (256, 1e30, "up to"),
        (2048, 2048, f"64 times the native area; the page draws up to {MOST_AREA} times"),
    ],
)
def test_sizes_that_cannot_be_had_are_refused_with_what_works(width, height, message: str):
    with pytest.raises(RedilateError, match=message):
        SMALL.check(width, height)
