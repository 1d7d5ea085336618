"""Means and medians with an honest margin: bootstrap confidence intervals, paired by prompt and seed."""

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
    """A figure and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Sequence[float] | np.ndarray, centre: Centre = "mean") -> Interval:
    """The mean or median of `values` (at least one) with its percentile bootstrap interval (Efron 1979).

    The resamples come from a fixed seed: the same values give the same interval, and columns of one study whose
    values stand in the same order of prompts are resampled alike.
    """
    measured = np.asarray(values, dtype=np.float64)
    middle = np.mean if centre == "mean" else np.median
    low, high = np.percentile(middle(measured[resamples(len(measured), RESAMPLES)], axis=1), [2.5, 97.5])
    return Interval(float(middle(measured)), float(low), float(high))


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], centre: Centre = "mean"
) -> Interval:
    """The mean or median of `values` minus `baseline`, of equal length and in the same order of prompts and seeds.

    What makes some prompts harder than others for every method cancels.
    """
    return bootstrap([one - other for one, other in zip(values, baseline, strict=True)], centre)


def resamples(count: int, times: int, seed: int = 0) -> np.ndarray:
    """Which of `count` pictures each of `times` resamples is made of: indices of shape (times, count)."""
    return np.random.default_rng(seed).integers(count, size=(times, count))


def bootstrap_normal(value: float, resampled: np.ndarray) -> Interval:
    """`value` with its normal bootstrap interval: 1.96 standard deviations of what the resamples gave, each way.

    For figures of whole sets of pictures, such as a Fréchet distance: resamples hold pictures twice, which shifts
    the figure itself, so that a percentile interval would lie beside the value; their spread is still its own.
    Resamples without a figure (NaN: of few pictures one alone may be taken each time, and a kernel distance needs
    pairs) say nothing.
    """
    found = resampled[~np.isnan(resampled)]
    margin = 1.96 * float(np.std(found, ddof=1)) if len(found) > 1 else math.inf
    return Interval(value, value - margin, value + margin)
