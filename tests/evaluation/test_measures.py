import numpy as np
import pytest

from redilate.evaluation.duplication import Repetition
from redilate.evaluation.measures import Measurement, measure, summarise
from tests.evaluation.drawings import discs, face, tiled


def _measured(seed: int, method: str, large: int, distance: float, size: str = "512x512") -> Measurement:
    return Measurement(f"prompt {seed}", seed, size, method, Repetition(1, large), distance, seconds=2.0)


def test_a_pair_is_counted_and_compared():
    native, large = face(256), tiled(face(512), 2)
    one = measure(native, large, prompt="a face", seed=3, method="direct", seconds=1.5)
    assert (one.size, one.repetition, one.seconds) == ("512x512", Repetition(1, 4), 1.5)
    assert one.feature_distance > 0.5
    assert measure(native, native, prompt="a face", seed=3, method="direct", seconds=1).feature_distance == 0


def test_a_row_averages_over_prompts_and_compares_with_the_first_method():
    direct = [_measured(seed, "direct", large=4 if seed < 3 else 1, distance=1.0 + seed) for seed in range(4)]
    ours = [_measured(seed, "redilate", large=1, distance=0.5 + seed) for seed in reversed(range(4))]
    first, second = summarise([*direct, *ours])
    assert (first.method, first.pictures, first.objects_native, first.objects_large) == (
        "direct",
        4,
        1.0,
        3.25,
    )
    assert (first.repeated.mean, first.same_count, first.seconds) == (0.75, 0.25, 2.0)
    assert first.repeated_difference is first.feature_difference is None
    assert (second.repeated.mean, second.repeated_difference.mean, second.same_count) == (0.0, -0.75, 1.0)
    # Paired by seed, whatever order they came in: every prompt differs by exactly one half.
    difference = second.feature_difference
    assert difference.mean == pytest.approx(-0.5)
    assert difference.low == pytest.approx(-0.5)
    assert difference.high == pytest.approx(-0.5)


def test_sizes_have_rows_and_baselines_of_their_own():
    measurements = [
        _measured(0, method, large, 1.0, size)
        for size, method, large in [
            ("512x512", "redilate", 1),
            ("768x256", "redilate", 3),
            ("512x512", "direct", 2),
            ("768x256", "direct", 3),
        ]
    ]
    rows = summarise(measurements)
    assert [(row.size, row.method) for row in rows] == [
        ("512x512", "redilate"),
        ("512x512", "direct"),
        ("768x256", "redilate"),
        ("768x256", "direct"),
    ]
    assert [row.repeated_difference and row.repeated_difference.mean for row in rows] == [
        None,
        1.0,
        None,
        0.0,
    ]


def test_an_interval_holds_its_mean():
    rng = np.random.default_rng(0)
    rows = summarise([_measured(seed, "direct", 1, float(rng.random())) for seed in range(20)])
    assert rows[0].feature_distance.low < rows[0].feature_distance.mean < rows[0].feature_distance.high


def test_the_counter_and_the_distance_see_different_faults():
    native = discs(256, 1)
    copies = measure(native, tiled(native, 2), prompt="", seed=0, method="direct", seconds=0)
    eyes = measure(face(256), face(512, eyes=12), prompt="", seed=0, method="direct", seconds=0)
    assert copies.repetition.excess == 3
    assert eyes.repetition.excess == 0
    assert eyes.feature_distance > 0.2
