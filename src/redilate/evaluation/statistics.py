"""Means, medians and distances of sets of pictures, with bootstrap confidence intervals, paired by prompt and seed.

The sets' features are of shape (pictures, views, channels): whole pictures have one view, crops several. The bootstrap
draws pictures with all their views, since views of one picture are not independent.

With few pictures the Fréchet distance (Heusel et al. 2017) is too large: compare it only between sets of equal sizes.
The kernel distance (Bińkowski et al. 2018) is unbiased and has less variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 10_000  # of values
SET_RESAMPLES = 100  # of sets of pictures

Centre = Literal["mean", "median"]


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Sequence[float] | np.ndarray, centre: Centre = "mean") -> Interval:
    """The mean or median of `values` (at least one) with its percentile bootstrap interval (Efron 1979).

    The seed is fixed: equal values have equal intervals, and all columns of a study have the same resamples.
    """
    measured = np.asarray(values, dtype=np.float64)
    middle = np.mean if centre == "mean" else np.median
    low, high = np.percentile(middle(measured[resamples(len(measured), RESAMPLES)], axis=1), [2.5, 97.5])
    return Interval(float(middle(measured)), float(low), float(high))


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], centre: Centre = "mean"
) -> Interval:
    """The mean or median of `values` minus `baseline`, in the same order of prompts and seeds."""
    return bootstrap([one - other for one, other in zip(values, baseline, strict=True)], centre)


def resamples(count: int, times: int, seed: int = 0) -> np.ndarray:
    """Indices of `times` resamples of `count` pictures, of shape (times, count)."""
    return np.random.default_rng(seed).integers(count, size=(times, count))


def bootstrap_normal(value: float, resampled: np.ndarray) -> Interval:
    """`value` with its normal bootstrap interval: ± 1.96 standard deviations of the resamples.

    For distances of sets of pictures: repeated pictures in resamples shift the distance, so that a percentile interval
    would not contain the value. NaN (a kernel distance of one repeated picture has no pairs) is left out.
    """
    found = resampled[~np.isnan(resampled)]
    margin = 1.96 * float(np.std(found, ddof=1)) if len(found) > 1 else math.inf
    return Interval(value, value - margin, value + margin)


@dataclass(frozen=True)
class Distance:
    """A distance, and those of resamples: float64 of shape (SET_RESAMPLES,)."""

    value: float
    resampled: np.ndarray

    def interval(self) -> Interval:
        """The value with its 95 % interval."""
        return bootstrap_normal(self.value, self.resampled)

    def minus(self, baseline: Distance) -> Interval:
        """The difference to a baseline, paired: both had the same prompts and reference in every resample."""
        return bootstrap_normal(self.value - baseline.value, self.resampled - baseline.resampled)


def frechet_distance(reference: np.ndarray, made: np.ndarray, *, paired: bool = False) -> Distance:
    """Fréchet distance between two sets of features; both of shape (pictures, views, channels), pictures ≥ 2.

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). The last trace is the sum of the singular values of
    X₁ X₂ᵀ / √((n₁ − 1)(n₂ − 1)), X the centred features: a matrix of pictures instead of channels.

    Args:
        paired: pictures k of both sets belong together and are resampled together.
    """
    first, second = _flat(reference), _flat(made)
    product = first @ second.T

    def moments(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, of shape (channels,), and the trace of the covariance."""
        total = weights.sum()
        mean = weights @ features / total
        return mean, (weights @ features.square().sum(dim=1) - total * mean.square().sum()) / (total - 1)

    def distance(*weights: Tensor) -> Tensor:
        (mean_1, trace_1), (mean_2, trace_2) = map(moments, (first, second), weights)
        # Pictures outside the resample have weight 0; without them the matrix is smaller.
        kept = [torch.nonzero(one)[:, 0] for one in weights]
        rows, columns = (one[index] for one, index in zip(weights, kept, strict=True))
        inner = product[kept[0]][:, kept[1]]
        over_rows, over_columns = rows @ inner / rows.sum(), inner @ columns / columns.sum()
        centred = inner - over_rows - over_columns[:, None] + rows @ over_columns / rows.sum()
        scaled = rows.sqrt()[:, None] * centred * columns.sqrt()
        root = torch.linalg.svdvals(scaled).sum() / ((rows.sum() - 1) * (columns.sum() - 1)).sqrt()
        return (mean_1 - mean_2).square().sum() + trace_1 + trace_2 - 2 * root

    return _with_resamples(distance, reference, made, paired)


def kernel_distance(reference: np.ndarray, made: np.ndarray, *, paired: bool = False) -> Distance:
    """Squared maximum mean discrepancy with the kernel (x·y / channels + 1)³, unbiased; arguments as above.

    Over all pairs of different pictures (Gretton et al. 2012, Lemma 6): not of views of one picture, copies of it in a
    resample, or pictures that belong together in paired sets. For one view and unpaired sets of equal size it equals
    torchmetrics' KernelInceptionDistance of the whole set. It can be below 0 for similar sets.
    """
    sets = _flat(reference), _flat(made)
    # The picture of each view.
    pictures = [torch.arange(len(one)).repeat_interleave(one.shape[1]) for one in (reference, made)]
    sides = ((0, 0), (0, 1), (1, 1))
    kernels = [(sets[one] @ sets[other].T / sets[0].shape[1] + 1) ** 3 for one, other in sides]
    pairs = [(pictures[one][:, None] != pictures[other]).double() for one, other in sides]
    if not paired:
        pairs[1] = torch.ones_like(pairs[1])

    def distance(*weights: Tensor) -> Tensor:
        within_1, across, within_2 = (
            weights[one] @ (kernel * pair) @ weights[other] / (weights[one] @ pair @ weights[other])
            for kernel, pair, (one, other) in zip(kernels, pairs, sides, strict=True)
        )
        return within_1 + within_2 - 2 * across

    return _with_resamples(distance, reference, made, paired)


def _with_resamples(
    distance: Callable[[Tensor, Tensor], Tensor], reference: np.ndarray, made: np.ndarray, paired: bool
) -> Distance:
    """The distance of the sets and of their resamples; `distance` takes the weight of every view of both."""

    def weights(drawn: np.ndarray, features: np.ndarray) -> Tensor:
        times = np.bincount(drawn, minlength=len(features)).repeat(features.shape[1])
        return torch.from_numpy(times.astype(np.float64))

    second = resamples(len(made), SET_RESAMPLES)
    first = second if paired else resamples(len(reference), SET_RESAMPLES, seed=1)
    drawn = [(np.arange(len(reference)), np.arange(len(made))), *zip(first, second, strict=True)]
    values = [float(distance(weights(one, reference), weights(other, made))) for one, other in drawn]
    return Distance(values[0], np.array(values[1:]))


def _flat(features: np.ndarray) -> Tensor:
    """Of shape (pictures · views, channels), float64."""
    return torch.from_numpy(features.reshape(-1, features.shape[2]).astype(np.float64))
