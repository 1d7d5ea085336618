"""Schedules against their published forms, and their limits."""

import math

import pytest

from redilate.core.schedule import dilation_at, level_after

LEADING = [981 - 20 * step for step in range(50)]  # diffusers' fifty leading timesteps
TRAILING = [999 - 20 * step for step in range(50)]


@pytest.mark.parametrize(("steps", "last"), [(20, 601), (30, 401), (35, 301), (37, 261)])
def test_published_steps_end_at_their_timesteps(steps, last):
    active = [t for t in LEADING if dilation_at((2, 2), t / 1000, level_after(steps), "hold") != (1, 1)]
    assert len(active) == steps and min(active) == last


@pytest.mark.parametrize("timesteps", [LEADING, TRAILING])
@pytest.mark.parametrize("tau", [20, 30, 35, 37])
@pytest.mark.parametrize("d", [2, 3, 4])
def test_progressive_is_the_published_form_at_every_step(timesteps, tau, d):
    for step, timestep in enumerate(timesteps):
        published = max(math.ceil(d * (tau - step) / tau), 2) if step < tau else 1
        assert dilation_at((d, d), timestep / 1000, level_after(tau), "progressive") == (published, published)


@pytest.mark.parametrize("shape", ["hold", "progressive", "smooth"])
def test_every_schedule_falls_from_full_to_one_and_never_below(shape):
    levels = [step / 200 for step in range(200, -1, -1)]
    dilations = [dilation_at((1, 4), level, 0.3, shape) for level in levels]
    assert dilations[0] == (1, 4)
    assert all(height == 1 for height, _ in dilations)  # an axis that was not dilated stays so
    widths = [width for _, width in dilations]
    assert widths == sorted(widths, reverse=True)
    assert all(width == 1 for width, level in zip(widths, levels, strict=True) if level < 0.3)


def test_smooth_moves_in_halves():
    widths = {dilation_at((1, 4), level / 500, 0.2, "smooth")[1] for level in range(501)}
    assert widths == {1, 1.5, 2, 2.5, 3, 3.5, 4}
