"""Noise-damped classifier-free guidance (ND-CFG), in a form that leaves a pipeline's loop unchanged.

ScaleCrafter's (arXiv 2310.07702) equation 7 takes denoising from a mildly re-dilated network ε and guidance from the
strongly re-dilated one ε̃:

    ε(x, ∅) + w (ε̃(x, c) − ε̃(x, ∅)).

With Δ = ε(x, ∅) − ε̃(x, ∅) added to every chunk of the strong network's output, any guidance formula whose
coefficients sum to 1 gives its own result + Δ, which is the equation: ε̃(∅) + w (ε̃(c) − ε̃(∅)) + Δ.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GuidanceLayout:
    """The order of conditions in a batch: `chunks` equal parts, of which number `unconditional` is ∅.

    `whole`: the network treats the parts differently (perturbed-attention guidance does, in its attention layers), so
    that ∅ cannot be evaluated alone.
    """

    chunks: int = 2
    unconditional: int = 0
    whole: bool = False


def damping_delta(
    strong: Tensor, mild: Tensor, layout: GuidanceLayout, channels: int | None = None
) -> Tensor:
    """Δ, (b, C, …).

    Args:
        strong: ε̃'s output on the whole batch, (chunks · b, C, …).
        mild: ε's output on the ∅ part, (b, C, …).
        channels: how many leading channels are the prediction; Δ is 0 for the rest (a learned variance). None: all.
    """
    part = mild.shape[0]
    first = layout.unconditional * part
    delta = mild - strong[first : first + part]
    if channels is not None and channels < delta.shape[1]:
        delta = torch.cat([delta[:, :channels], torch.zeros_like(delta[:, channels:])], dim=1)
    return delta


def add_delta(strong: Tensor, delta: Tensor, layout: GuidanceLayout) -> Tensor:
    """Δ added to every chunk of `strong`."""
    return strong + delta.repeat(layout.chunks, *[1] * (strong.dim() - 1))


# The least correlation of two steps of one picture, with fresh noise too; a panorama's views correlate less.
_ALIKE = 0.5


@dataclass(frozen=True)
class KeptDelta:
    """A Δ that later, less noisy calls of the same generation may use, since it changes slowly with the noise level.

    Attributes:
        delta: (b, C, …).
        noise_level: of the call that computed it.
        sample: (b, C', …), that call's ∅ part.
        condition: that call's text embeddings. A pipeline hands the same tensor to every step, so another tensor means
            another generation.
    """

    delta: Tensor
    noise_level: float
    sample: Tensor
    condition: weakref.ref[Tensor]

    def is_usable(self, noise_level: float, within: float, sample: Tensor, condition: Any) -> bool:
        """Whether Δ may be used for the ∅ part `sample` at `noise_level`, at most `within` below its own."""
        return (
            # Rounded, so that floating-point error does not decide for steps as wide as `within`.
            0 < round(self.noise_level - noise_level, 9) <= within
            and self.sample.shape == sample.shape
            and condition is not None
            and self.condition() is condition
            # Last, since it waits for a GPU.
            and _correlation(self.sample, sample) > _ALIKE
        )


def _correlation(one: Tensor, other: Tensor) -> float:
    """The least correlation between two batches' samples; without each channel's mean, since colour tells little."""
    one, other = (each.float() - each.float().mean(dim=(-2, -1), keepdim=True) for each in (one, other))
    return float(torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1), dim=1).min())
