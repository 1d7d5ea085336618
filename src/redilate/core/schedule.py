"""Dilation as a function of the noise level, and what keeps a large leg close to the picture before it.

A noise level is timestep / T: 1 is pure noise, 0 the finished picture. Schedules depend on it alone, so they hold for
any scheduler, any number of steps, and for pipelines that start late (image to image), end early (a refiner's base)
or evaluate the network several times a step (Heun). A large leg keeps the low frequencies of the picture before it,
less and less over its steps (its tie), and a noise floor undoes its smallest changes.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .conv import Dilation

Shape = Literal["hold", "progressive", "smooth"]

# The published settings count steps of fifty.
_PUBLISHED_STEPS = 50
_TIMESTEPS = 1000
# Half dilations cost no more multiplications than whole ones, other fractions up to four times as many, and
# torch.compile makes a graph for each distinct one.
_SMOOTH_STEP = 0.5


def level_after(steps: float) -> float:
    """The noise level τ below which the network runs as trained, from the published "first `steps` of fifty"."""
    return round(1 - steps / _PUBLISHED_STEPS, 6)


def level_of_sigma(sigma: float) -> float:
    """The noise level of a latent that holds σ times as much noise as picture, on Stable Diffusion's own schedule.

    For networks whose argument is σ (EDM's schedulers, ComfyUI's models) and not a timestep.
    """
    return bisect.bisect_left(_sigmas(), sigma) / _TIMESTEPS


def sigma_of_level(level: float) -> float:
    """The inverse of `level_of_sigma` for a noise level in [0, 1]; 0 gives the schedule's least noise."""
    return _sigmas()[min(_TIMESTEPS - 1, max(0, round(level * _TIMESTEPS)))]


@lru_cache(maxsize=1)
def _sigmas() -> list[float]:
    """σ at each training timestep: √((1 − ᾱ) / ᾱ), with β from 0.00085 to 0.012 linear in its root."""
    alphas = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, _TIMESTEPS) ** 2)
    return np.sqrt((1 - alphas) / alphas).tolist()


def dilation_at(full: Dilation, noise_level: float, until: float, shape: Shape) -> Dilation:
    """The dilation at `noise_level` of a convolution whose strongest is `full`.

    Args:
        full: (d_h, d_w) at the highest noise level, each at least 1.
        noise_level: in [0, 1].
        until: the noise level τ below which the answer is (1, 1).
        shape: "hold" keeps `full` down to τ;
            "progressive" is the published max(⌈d (τ − i) / τ⌉, 2) at step i of τ, of fifty;
            "smooth" falls along a quarter cosine from `full` to 1, in steps of a half.

    Returns:
        (d_h, d_w), never above `full` nor below 1.
    """
    if noise_level < until or until >= 1:
        return (1.0, 1.0)
    height, width = (_axis(axis, noise_level, until, shape) for axis in full)
    return height, width


def _axis(full: float, noise_level: float, until: float, shape: Shape) -> float:
    if full == 1 or shape == "hold":
        return float(full)
    if shape == "progressive":
        # Rounded first: 50 × (1 − 0.98) is 1.0000000000000009.
        step = math.floor(round(_PUBLISHED_STEPS * (1 - noise_level), 6))
        last = round(_PUBLISHED_STEPS * (1 - until))
        return float(min(full, max(math.ceil(round(full * (last - step) / last, 6)), 2)))
    share = math.sin(0.5 * math.pi * (noise_level - until) / (1 - until))
    return min(full, 1 + math.ceil((full - 1) * share / _SMOOTH_STEP) * _SMOOTH_STEP)


@dataclass(frozen=True)
class Tie:
    """How a large leg keeps the low frequencies of the picture before it.

    Attributes:
        weight: in [0, 1], at the leg's start.
        until: the share of the leg's steps over which it fades to 0 (a half cosine); above 1: it does not fade.
        period: the shortest period, in latents of the leg's size, of what counts as low.
    """

    weight: float
    until: float
    period: float


def tie_weight(tie: Tie, done: float, steps: float) -> float:
    """The tie's weight after `done` of a leg's `steps`: a half cosine from `weight` to 0 at `until` of the way.

    Published ties fade too: DemoFusion's and FreeScale's as a power of a cosine, DiffuseHigh's after a third.
    """
    if tie.until > 1:
        return tie.weight
    way = done / steps / tie.until
    return tie.weight * (1 + math.cos(math.pi * way)) / 2 if way < 1 else 0.0


_WINDOW = 5  # side in pixels of the neighbourhood whose power is taken


def shrink_noise(values: Tensor, floor: float) -> Tensor:
    """The local Wiener filter of a signal of mean 0 in white noise of deviation `floor`.

    Each value is multiplied by max(0, 1 − floor² / P), P the mean square of all channels over 5×5 pixels around it
    (fewer at an edge): Lee, "Digital Image Enhancement and Noise Filtering by Use of Local Statistics", IEEE PAMI
    2(2), 1980, with the local mean taken as 0. Values well above the floor stay, others go to 0.

    Args:
        values: floating point, of shape (batch, channels, height, width).
        floor: at least 0, in the values' own unit; 0 returns them as they are.
    """
    if floor == 0:
        return values
    # float32: bfloat16 has no digits for a difference of powers.
    squares = values.float().square().mean(dim=1, keepdim=True)
    power = avg_pool2d(squares, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)
    # Clamped to the floor's own power, where the share is 0: no division by 0.
    kept = 1 - floor**2 / power.clamp(min=floor**2)
    return (values * kept).to(values.dtype)


def low_pass(values: Tensor, period: float) -> Tensor:
    """The part of `values` that changes more slowly than `period` pixels: means over cells, interpolated smoothly.

    Args:
        values: floating point, of shape (batch, channels, height, width).
        period: side of a cell in pixels, at least 1; 1 returns `values` as they are. A smaller picture has one cell.

    Returns:
        A tensor of the shape of `values`; constant values stay unchanged.
    """
    if period <= 1:
        return values
    height, width = values.shape[-2:]
    cells = (max(1, round(height / period)), max(1, round(width / period)))
    # float32: not every device has bicubic in bfloat16, and means over many pixels lose digits in it.
    means = interpolate(values.float(), size=cells, mode="area")
    return interpolate(means, size=(height, width), mode="bicubic").to(values.dtype)


def with_low_frequencies_of(values: Tensor, other: Tensor, period: float, weight: float) -> Tensor:
    """`values` with a share `weight` in [0, 1] of their low frequencies taken from `other`; 0 is the identity.

    All tensors of shape (batch, channels, height, width); `period` as for `low_pass`.
    """
    if weight == 0:
        return values
    # Linear, so one low pass of the difference is enough.
    return values + weight * low_pass(other - values, period)
