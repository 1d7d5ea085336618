"""How far the features of one set of pictures are from those of another: Fréchet and kernel distance.

Features are of shape (pictures, views, channels): whole pictures have one view, crops have several. The value is of
all views; the bootstrap draws pictures with all their views, since views of one picture are no independent samples.

With fewer pictures than channels (1280) the covariances have no full rank. The Fréchet distance (Heusel et al. 2017)
is then defined still, but it is too large, by more the fewer the pictures are: compare it only between sets of
equal sizes. The kernel distance (Bińkowski et al. 2018) has no such bias and is the steadier of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .statistics import Interval, bootstrap_normal, resamples

RESAMPLES = 100


@dataclass(frozen=True)
class Distance:
    """A distance, and what resampled pictures give for it: float64 of shape (RESAMPLES,)."""

    value: float
    resampled: np.ndarray

    def interval(self) -> Interval:
        """The value with its 95 % interval."""
        return bootstrap_normal(self.value, self.resampled)

    def minus(self, baseline: Distance) -> Interval:
        """The difference to a baseline, paired: in every resample both had the same prompts and reference."""
        return bootstrap_normal(self.value - baseline.value, self.resampled - baseline.resampled)


def frechet_distance(reference: np.ndarray, made: np.ndarray, *, paired: bool = False) -> Distance:
    """Fréchet distance between two sets of features; both of shape (pictures, views, channels), pictures ≥ 2.

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½). The last trace is the sum of the singular values of
    X₁ X₂ᵀ / √((n₁ − 1)(n₂ − 1)), X the centred features: a matrix of pictures instead of channels.

    Args:
        paired: picture k of both sets belongs together and is drawn together.
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
        # What a resample does not hold weighs nothing, and leaving it out makes the matrix smaller.
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

    Over all pairs of different pictures (Gretton et al. 2012, Lemma 6): views of one picture are no pair, nor are
    copies of it in a resample, nor, of paired sets, pictures that belong together. For one view and unpaired sets of
    equal size it is what torchmetrics' KernelInceptionDistance gives for the whole set; that averages random subsets
    of it. It can be below 0 where the sets are alike.
    """
    sets = _flat(reference), _flat(made)
    # Which picture every view is of.
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
    """The distance of the sets and of their resamples: `distance` is told how often to take every view of both."""

    def weights(drawn: np.ndarray, features: np.ndarray) -> Tensor:
        times = np.bincount(drawn, minlength=len(features)).repeat(features.shape[1])
        return torch.from_numpy(times.astype(np.float64))

    second = resamples(len(made), RESAMPLES)
    first = second if paired else resamples(len(reference), RESAMPLES, seed=1)
    drawn = [(np.arange(len(reference)), np.arange(len(made))), *zip(first, second, strict=True)]
    values = [float(distance(weights(one, reference), weights(other, made))) for one, other in drawn]
    return Distance(values[0], np.array(values[1:]))


def _flat(features: np.ndarray) -> Tensor:
    """Of shape (pictures · views, channels), float64."""
    return torch.from_numpy(features.reshape(-1, features.shape[2]).astype(np.float64))
