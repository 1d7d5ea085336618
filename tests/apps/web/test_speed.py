from __future__ import annotations

import pytest

from redilate.apps.web.sizes import Speed
from tests.models import tiny_sdxl


def test_nothing_is_known_before_anything_was_measured():
    assert Speed().seconds("single redilate", 512 * 512, 25) is None
    assert Speed().source == ""


def test_one_size_scales_with_the_area_and_the_steps():
    speed = Speed()
    speed.add("single redilate", 512 * 512, steps=10, seconds=20)
    assert speed.seconds("single redilate", 512 * 512, 10) == pytest.approx(20)
    assert speed.seconds("single redilate", 1024 * 512, 5) == pytest.approx(20)


def test_two_sizes_tell_how_the_time_grows():
    speed = Speed()
    for side, seconds in ((256, 1.0), (512, 4.0 * 2**0.5)):  # area^1.25
        speed.add("single direct", side * side, steps=10, seconds=seconds)
    assert speed.seconds("single direct", 1024 * 1024, 10) == pytest.approx(32)


@pytest.mark.parametrize(("second", "grows"), [(0.1, 1), (10_000.0, 2)])
def test_a_stray_measurement_does_not_bend_the_curve_beyond_what_networks_do(second: float, grows: int):
    speed = Speed()
    speed.add("single direct", 256 * 256, steps=1, seconds=1)
    speed.add("single direct", 512 * 512, steps=1, seconds=second)
    middle = speed.seconds("single direct", 512 * 512, 1)
    assert speed.seconds("single direct", 1024 * 1024, 1) == pytest.approx(middle * 4**grows)


def test_each_way_has_its_own_curve_and_another_stands_in_until_then():
    speed = Speed()
    speed.add("single direct", 512 * 512, steps=1, seconds=1)
    assert speed.seconds("single redilate", 512 * 512, 1) == pytest.approx(1)
    speed.add("single redilate", 512 * 512, steps=1, seconds=3)
    assert speed.seconds("single redilate", 512 * 512, 1) == pytest.approx(3)
    assert speed.seconds("single direct", 512 * 512, 1) == pytest.approx(1)


def test_two_steps_of_a_real_pipeline_are_a_measurement():
    speed = Speed()
    speed.measure(tiny_sdxl())
    estimate = speed.seconds("single redilate", 256 * 256, 1)
    assert estimate is not None and 0 < estimate < 30
    assert speed.source == "from two steps at native size"
