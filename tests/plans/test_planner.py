"""The default plan: whatever measurement makes of it, it is neutral at the native size and grows with the picture."""

import itertools

import pytest

from redilate.plans.planner import default_plan
from redilate.plans.structure import convolutions
from tests.full_size import CONFIGURATIONS, full_size_unet

RATIOS = [0.25, 0.5, 0.9, 1.0, 1.2, 1.3125, 1.5, 1.8, 2.0, 2.3, 2.625, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0]


@pytest.fixture(params=list(CONFIGURATIONS))
def names(request):
    return list(convolutions(full_size_unet(request.param)))


def factors(names, ratio):
    plan = default_plan(names, ratio)
    return [plan.dilation.get(name, (1.0, 1.0)) for name in names]


@pytest.mark.parametrize("ratio", [(1.0, 1.0), (0.5, 1.0), (1.0, 0.25), (0.75, 0.5)])
def test_native_size_and_below_are_neutral(names, ratio):
    assert default_plan(names, ratio).is_neutral


def test_an_axis_that_is_not_larger_is_not_dilated(names):
    for ratio in RATIOS[4:]:
        assert {height for height, _ in factors(names, (1.0, ratio))} == {1.0}
        assert {width for _, width in factors(names, (ratio, 0.5))} == {1.0}


def test_no_dilation_falls_as_a_side_grows(names):
    for other in (1.0, 2.0, 4.0):
        grown = [factors(names, (other, ratio)) for ratio in RATIOS]
        for before, after in itertools.pairwise(grown):
            assert all(b[0] <= a[0] and b[1] <= a[1] for b, a in zip(before, after, strict=True))


def test_it_acts_wherever_the_picture_is_at_least_one_and_a_half_times_native(names):
    for ratio in ((1.5, 1.0), (1.0, 2.0), (4.0, 4.0)):
        assert not default_plan(names, ratio).is_neutral


def test_a_plan_for_a_large_ratio_dilates_both_axes_alike_in_a_square(names):
    for ratio in (2.0, 3.0, 4.0):
        assert all(height == width for height, width in factors(names, (ratio, ratio)))


def test_halves_are_met_by_exact_taps_where_the_outermost_skip_connections_are_read(names):
    halves = default_plan(names, (1.5, 2.0))
    exact = {name for name in names if halves.fractional_of(name) == "taps"}
    last = max(name.split(".")[1] for name in names if name.startswith("up_blocks"))
    assert exact == {f"up_blocks.{last}.resnets.{index}.conv1" for index in range(3)}
    assert {halves.fractional_of(name) for name in set(names) - exact} == {"channels"}
    assert "by channels" in str(halves)


def test_a_plan_of_whole_dilations_names_none_to_be_met_by_channels(names):
    assert default_plan(names, (2.0, 3.0)).by_channels == frozenset()
