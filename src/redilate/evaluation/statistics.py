"""Means and medians with bootstrap confidence intervals, paired by prompt and seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

RESAMPLES = 10_000

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
