"""How far the features of one set of pictures are from those of another: Fréchet and kernel distance.

Features are of shape (pictures, views, channels): whole pictures have one view, crops have several. The value is of
all views; the bootstrap draws pictures with all their views, since views of one picture are no independent samples.

With fewer pictures than channels (1280) the covariances have no full rank. The Fréchet distance (Heusel et al. 2017)
is then defined still, but it is too large, by more the fewer the pictures are: compare it only between sets of
equal sizes. The kernel distance (Bińkowski et al. 2018) has no such bias and is the steadier of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .extra import needed
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

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), from torchmetrics. For the resamples the last trace is taken as the sum
    of the singular values of X₁ X₂ᵀ / √((n₁ − 1)(n₂ − 1)), X the centred features: the same number from a matrix of
    pictures instead of channels.

    Args:
        paired: picture k of both sets belongs together and is drawn together.
    """
    first, second = _in_their_span(_flat(reference), _flat(made))
    metric = needed("torchmetrics.image.fid").FrechetInceptionDistance(_Given(first.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(first, real=True)
    metric.update(second, real=False)
    sets = _Weighted(first), _Weighted(second)
    product = sets[0].features @ sets[1].features.T
    values = [
        _frechet(sets, product, weights)
        for weights in _resampled_weights(reference.shape, made.shape, paired)
    ]
    return Distance(float(metric.compute()), np.array(values))


def kernel_distance(reference: np.ndarray, made: np.ndarray, *, paired: bool = False) -> Distance:
    """Squared maximum mean discrepancy with the kernel (x·y / channels + 1)³, unbiased; arguments as above.

    Over all pairs of different pictures (Gretton et al. 2012, Lemma 6): views of one picture are no pair, nor are
    copies of it in a resample, nor, of paired sets, pictures that belong together. For one view and unpaired sets of
    equal size it is what torchmetrics' KernelInceptionDistance gives for the whole set; that averages random subsets
    of it. It can be below 0 where the sets are alike.
    """
    first, second = _flat(reference), _flat(made)
    kernel = needed("torchmetrics.image.kid").poly_kernel
    kernels = kernel(first, first), kernel(first, second), kernel(second, second)
    pictures = _pictures(reference), _pictures(made)
    across = pictures[0][:, None] != pictures[1]
    kept = [
        (pictures[0][:, None] != pictures[0]).double(),
        across.double() if paired else torch.ones_like(across, dtype=torch.float64),
        (pictures[1][:, None] != pictures[1]).double(),
    ]
    ones = torch.ones(len(first), dtype=torch.float64), torch.ones(len(second), dtype=torch.float64)
    values = [
        _discrepancy(kernels, kept, weights)
        for weights in [ones, *_resampled_weights(reference.shape, made.shape, paired)]
    ]
    return Distance(values[0], np.array(values[1:]))


def _in_their_span(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in as many coordinates as they span, if those are fewer than the channels.

    Turning the space changes no Fréchet distance, and a matrix of 100 instead of 1280 rows takes no time.
    """
    if len(first) + len(second) >= first.shape[1]:
        return first, second
    basis, _ = torch.linalg.qr(torch.cat([first, second]).T)
    return first @ basis, second @ basis


class _Given(nn.Module):
    """The network of torchmetrics' metric, where the features are there already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class _Weighted:
    """A set of features of which each resample takes some more often than others."""

    def __init__(self, features: Tensor):
        self.features = features
        self.squares = features.square().sum(dim=1)

    def moments(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, of shape (channels,), and the trace of the covariance."""
        total = weights.sum()
        mean = weights @ self.features / total
        return mean, (weights @ self.squares - total * mean.square().sum()) / (total - 1)


def _frechet(sets: tuple[_Weighted, _Weighted], product: Tensor, weights: tuple[Tensor, Tensor]) -> float:
    (mean_1, trace_1), (mean_2, trace_2) = (one.moments(w) for one, w in zip(sets, weights, strict=True))
    # What a resample does not hold weighs nothing, and leaving it out makes the matrix smaller.
    kept = [torch.nonzero(w)[:, 0] for w in weights]
    first, second = (w[index] for w, index in zip(weights, kept, strict=True))
    inner = product[kept[0]][:, kept[1]]
    shares = first / first.sum(), second / second.sum()
    rows, columns = shares[0] @ inner, inner @ shares[1]
    centred = inner - rows - columns[:, None] + shares[0] @ columns
    scaled = first.sqrt()[:, None] * centred * second.sqrt()
    root = torch.linalg.svdvals(scaled).sum() / ((first.sum() - 1) * (second.sum() - 1)).sqrt()
    return float((mean_1 - mean_2).square().sum() + trace_1 + trace_2 - 2 * root)


def _discrepancy(kernels: Sequence[Tensor], kept: Sequence[Tensor], weights: tuple[Tensor, Tensor]) -> float:
    """The mean kernel within the two sets less twice that across, over the `kept` pairs (1 kept, 0 not)."""
    sides = ((0, 0), (0, 1), (1, 1))
    within_1, across, within_2 = (
        weights[left] @ (kernel * pairs) @ weights[right] / (weights[left] @ pairs @ weights[right])
        for kernel, pairs, (left, right) in zip(kernels, kept, sides, strict=True)
    )
    return float(within_1 + within_2 - 2 * across)


def _resampled_weights(
    reference: tuple[int, ...], made: tuple[int, ...], paired: bool
) -> list[tuple[Tensor, Tensor]]:
    """For each resample how often it holds every view of the reference and of what was made."""
    second = resamples(made[0], RESAMPLES)
    first = second if paired else resamples(reference[0], RESAMPLES, seed=1)
    return [(_times(one, reference), _times(other, made)) for one, other in zip(first, second, strict=True)]


def _times(drawn: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.bincount(drawn, minlength=shape[0]).repeat(shape[1]).astype(np.float64))


def _pictures(features: np.ndarray) -> Tensor:
    """Which picture every view is of."""
    return torch.arange(features.shape[0]).repeat_interleave(features.shape[1])


def _flat(features: np.ndarray) -> Tensor:
    """Of shape (pictures · views, channels), float64."""
    return torch.from_numpy(features.reshape(-1, features.shape[2]).astype(np.float64))
