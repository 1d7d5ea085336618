import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from redilate.evaluation import statistics
from redilate.evaluation.statistics import frechet_distance, kernel_distance


def _features(
    pictures: int, views: int = 1, channels: int = 6, shift: float = 0.0, seed: int = 0
) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(channels, channels))
    drawn = np.random.default_rng(seed).normal(size=(pictures, views, channels))
    return (drawn @ mixing + shift).astype(np.float32)


@pytest.fixture
def few_resamples(monkeypatch):
    """For what asks for values and not for margins."""
    monkeypatch.setattr(statistics, "SET_RESAMPLES", 2)


def _every_picture_once(monkeypatch):
    """Resamples that are the set itself, so that they have to give the value."""
    monkeypatch.setattr(
        statistics, "resamples", lambda count, times, seed=0: np.tile(np.arange(count), (3, 1))
    )


class _Given(torch.nn.Module):
    def __init__(self, num_features: int = 6):
        super().__init__()
        self.num_features = num_features

    def forward(self, features):
        return features


@pytest.mark.parametrize(("pictures", "views", "channels"), [(40, 1, 6), (12, 3, 6), (9, 1, 50)])
def test_the_frechet_distance_is_torchmetrics_and_a_resample_of_every_picture_has_it_too(
    pictures, views, channels, monkeypatch
):
    _every_picture_once(monkeypatch)
    real, made = _features(pictures + 3, views, channels), _features(pictures, views, channels, 0.5, seed=1)
    found = frechet_distance(real, made)
    metric = FrechetInceptionDistance(_Given(channels))
    metric.set_dtype(torch.float64)
    for features, is_real in ((real, True), (made, False)):
        metric.update(torch.from_numpy(features.reshape(-1, channels)).double(), real=is_real)
    assert found.value == pytest.approx(float(metric.compute()), rel=1e-4)
    assert found.resampled == pytest.approx(found.value)


def test_the_frechet_distance_of_two_normal_sets_is_the_one_in_the_books(few_resamples):
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, (500, 1, 3)), rng.normal((1, 2, 0), (1, 1, 3), (500, 1, 3))
    # |difference of means|² + the sum of (difference of deviations)².
    assert frechet_distance(first, second).value == pytest.approx(1 + 4 + 4, rel=0.1)


def test_a_resample_counts_pictures_as_often_as_it_holds_them(monkeypatch):
    drawn = np.array([[0, 0, 2, 3, 4, 4, 4, 1]])
    monkeypatch.setattr(statistics, "resamples", lambda count, times, seed=0: drawn)
    real, made = _features(8, 2), _features(8, 2, shift=1, seed=1)
    resampled = frechet_distance(real, made, paired=True).resampled[0]
    metric = FrechetInceptionDistance(_Given())
    metric.set_dtype(torch.float64)
    for features, is_real in ((real, True), (made, False)):
        metric.update(torch.from_numpy(features[drawn[0]].reshape(-1, 6)).double(), real=is_real)
    assert resampled == pytest.approx(float(metric.compute()), rel=1e-4)


def test_the_kernel_distance_is_torchmetrics_over_all_pairs(few_resamples):
    real, made = _features(30), _features(30, shift=0.7, seed=1)
    metric = KernelInceptionDistance(_Given(), subsets=1, subset_size=30)
    metric.update(torch.from_numpy(real[:, 0]).double(), real=True)
    metric.update(torch.from_numpy(made[:, 0]).double(), real=False)
    assert kernel_distance(real, made).value == pytest.approx(float(metric.compute()[0]), rel=1e-5)


def test_the_kernel_distance_has_no_bias_and_the_frechet_distance_has(few_resamples):
    def alike(distance, pictures: int) -> float:
        pairs = [(_features(pictures, seed=2 * n), _features(pictures, seed=2 * n + 1)) for n in range(20)]
        return float(np.mean([distance(*pair).value for pair in pairs]))

    larger = frechet_distance(_features(200), _features(200, seed=1)).value
    assert alike(frechet_distance, 20) > 3 * larger
    spread = np.std(
        [kernel_distance(_features(20, seed=n), _features(20, seed=n + 50)).value for n in range(20)]
    )
    assert abs(alike(kernel_distance, 20)) < spread


def test_paired_sets_are_no_nearer_for_what_each_pair_shares(few_resamples):
    # The same pictures, each with a little noise: of two independent draws that would be no distance.
    pairs = [
        (_features(40, seed=n), _features(40, seed=n) + _features(40, seed=n + 9) / 20) for n in range(20)
    ]
    found = {
        paired: [kernel_distance(*pair, paired=paired).value for pair in pairs] for paired in (False, True)
    }
    assert np.mean(found[False]) < -3 * abs(np.mean(found[True]))


def test_pairs_of_one_picture_do_not_draw_a_resample_down():
    # With copies left in, each resample would be far above the value, by the kernel of a picture with itself.
    found = kernel_distance(_features(25), _features(25, shift=1, seed=1))
    assert abs(found.resampled.mean() - found.value) < 0.5 * found.resampled.std()


def test_an_interval_holds_the_true_distance_and_a_paired_difference_is_narrower():
    real = _features(120, seed=5)
    made = _features(60, shift=0.5, seed=6)
    better = (made - 0.1).astype(np.float32)
    first, second = kernel_distance(real, made), kernel_distance(real, better)
    truth = kernel_distance(_features(300, seed=7), _features(300, shift=0.5, seed=8)).value
    interval, difference = first.interval(), second.minus(first)
    assert interval.low < truth < interval.high
    assert difference.high < 0
    assert difference.high - difference.low < interval.high - interval.low
