"""The sizes that a drawing goes through."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redilate.plans.defaults import leg_sizes, native_shape

sides = st.integers(8, 600).map(lambda cells: 8 * cells)


def test_a_square_starts_at_the_native_square_and_doubles():
    assert native_shape((4096, 4096), (1024, 1024), 32) == (1024, 1024)
    assert leg_sizes((1024, 1024), (4096, 4096), (1024, 1024), 2.0, 32) == [(2048, 2048), (4096, 4096)]


def test_a_wide_picture_starts_wide_at_about_the_native_area():
    assert native_shape((1152, 2048), (1024, 1024), 32) in [
        (768, 1344),
        (768, 1376),
        (736, 1312),
        (720, 1280),
    ]
    assert native_shape((256, 768), (256, 256), 32) == (160, 480)


def test_three_times_the_side_is_two_equal_legs():
    assert leg_sizes((256, 256), (768, 768), (256, 256), 2.0, 32) == [(448, 448), (768, 768)]
    assert leg_sizes((256, 256), (768, 768), (256, 256), 4.0, 32) == [(768, 768)]


def test_a_size_that_is_not_larger_has_no_legs():
    assert leg_sizes((256, 256), (256, 256), (256, 256), 2.0, 32) == []


def test_a_small_start_is_taken_beyond_the_native_area_at_once():
    assert leg_sizes((64, 64), (512, 512), (256, 256), 2.0, 32) == [(256, 256), (512, 512)]
    assert leg_sizes((64, 64), (128, 128), (256, 256), 2.0, 32) == [(128, 128)]


@given(sides, sides, st.sampled_from([32, 64]))
def test_any_target_has_a_native_shape_of_whole_units_near_its_ratio_and_area(height, width, unit):
    native = (512, 512)
    shape = native_shape((height, width), native, unit)
    assert shape[0] % unit == 0 and shape[1] % unit == 0 and min(shape) > 0
    if 1 / 4 <= height / width <= 4:
        assert abs(math.log(shape[0] / shape[1] * width / height)) < 0.12
        assert 0.6 < math.prod(shape) / math.prod(native) < 1.7


@given(sides, sides, st.floats(1.5, 4))
def test_stages_end_at_the_target_grow_and_keep_to_the_largest_scale(height, width, largest):
    start = native_shape((height, width), (256, 256), 32)
    sizes = leg_sizes(start, (height, width), (8, 8), largest, 32)
    if not sizes:
        assert height <= start[0] and width <= start[1]
        return
    assert sizes[-1] == (height, width)
    # Rounding to 32 pixels may take a stage a little beyond.
    for before, after in zip([start, *sizes], sizes, strict=False):
        assert after[0] / before[0] <= largest * (1 + 32 / before[0])
        assert after[1] / before[1] <= largest * (1 + 32 / before[1])


@pytest.mark.parametrize("target", [(8, 4096), (4096, 8)])
def test_an_extreme_ratio_still_has_a_start(target):
    shape = native_shape(target, (256, 256), 32)
    assert min(shape) >= 32 and (shape[0] < shape[1]) == (target[0] < target[1])
