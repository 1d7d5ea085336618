import numpy as np
import pytest

from redilate.evaluation.summary import NATIVE, set_distances, summarise
from tests.evaluation.samples import measured


def test_a_row_averages_over_prompts_and_compares_with_the_first_method():
    native = [measured(seed, NATIVE, distance=0.0) for seed in range(4)]
    direct = [
        measured(seed, "direct", objects=4 if seed < 3 else 1, distance=1.0 + seed) for seed in range(4)
    ]
    ours = [measured(seed, "redilate", distance=0.5 + seed) for seed in reversed(range(4))]
    zeroth, first, second = summarise([*native, *direct, *ours])
    assert (zeroth.method, zeroth.differences, zeroth.values["feature_distance"].value) == (NATIVE, {}, 0)
    assert (first.method, first.pictures, first.values["objects"].value) == ("direct", 4, 3.25)
    assert (first.values["repeated"].value, first.values["same_count"].value) == (0.75, 0.25)
    assert first.differences == {}
    assert second.differences["repeated"].value == -0.75
    # Paired by seed, whatever order they came in: every prompt differs by exactly one half.
    difference = second.differences["feature_distance"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_sizes_have_rows_and_baselines_of_their_own():
    measurements = [
        measured(0, method, objects, size=size)
        for size, method, objects in [
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
    assert [row.differences and row.differences["repeated"].value for row in rows] == [{}, 1.0, {}, 0.0]


def test_an_interval_holds_its_mean():
    rng = np.random.default_rng(0)
    row = summarise([measured(seed, "direct", distance=float(rng.random())) for seed in range(20)])[0]
    assert row.values["feature_distance"].low < row.values["feature_distance"].value
    assert row.values["feature_distance"].high > row.values["feature_distance"].value


def _features(shift: float, seed: int, pictures: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (pictures, 1 + 4, 20)).astype(np.float32)


def test_what_is_nearer_to_the_real_pictures_has_the_smaller_distances():
    features = {NATIVE: _features(0.2, 1), "near": _features(0, 2), "far": _features(2, 3)}
    real = _features(0, 4, pictures=30)
    found = set_distances(features, real)
    assert set(found) == {NATIVE, "near", "far"}
    assert set(found[NATIVE]) == {"fid_r", "kid_r", "fid_crop_r", "kid_crop_r"}
    assert set(found["far"]) == set(found[NATIVE]) | {"fid_b", "kid_b", "fid_crop_b", "kid_crop_b"}
    for measure, distance in found["near"].items():
        assert found["far"][measure].value > distance.value + 1
    rows = summarise(
        [measured(seed, method) for seed in range(12) for method in (NATIVE, "near", "far")],
        {"512x512": features},
        {"512x512": real},
    )
    assert rows[2].differences["kid_r"].low > 0
    assert rows[1].values["fid_b"].value == found["near"]["fid_b"].value


def test_without_real_pictures_or_with_one_picture_there_is_nothing_to_compute():
    features = {NATIVE: _features(0, 1), "direct": _features(0, 2)}
    assert set(set_distances(features)["direct"]) == {"fid_b", "kid_b", "fid_crop_b", "kid_crop_b"}
    assert set_distances({name: one[:1] for name, one in features.items()}) == {}
