"""What changes with the noise level: how strong re-dilation is, and what holds a large leg to the picture before it.

A noise level is timestep / T: 1 is pure noise, 0 the finished picture. Schedules are functions of it and of nothing
else, so that they hold for any scheduler, any number of steps, and for pipelines that start late (image to image),
end early (a refiner's base) or evaluate the network several times a step (Heun). The tie of a large leg is shared low
frequencies that fade over its steps, and a noise floor.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .conv import Dilation

Shape = Literal["hold", "progressive", "smooth"]

# The published settings count steps of fifty.
_PUBLISHED_STEPS = 50
_TIMESTEPS = 1000
# Half dilations multiply no more than whole ones, other fractions up to four times as much, and every distinct one
# is a graph of its own under torch.compile: so the smooth decay moves in halves.
_SMOOTH_STEP = 0.5


def level_after(steps: float) -> float:
    """The noise level τ below which the network runs as trained, from the published "first `steps` of fifty"."""
    return round(1 - steps / _PUBLISHED_STEPS, 6)


def level_of_sigma(sigma: float) -> float:
    """The noise level of a latent that holds σ times as much noise as picture, on Stable Diffusion's own schedule.

    For networks that are told σ (EDM's schedulers, ComfyUI's models) and not a timestep.
    """
    return bisect.bisect_left(_sigmas(), sigma) / _TIMESTEPS


def sigma_of_level(level: float) -> float:
    """The reverse of `level_of_sigma` for a noise level in [0, 1]; 0 is the least noise that the schedule knows."""
    return _sigmas()[min(_TIMESTEPS - 1, max(0, round(level * _TIMESTEPS)))]


@lru_cache(maxsize=1)
def _sigmas() -> list[float]:
    """σ at each training timestep: √((1 − ᾱ) / ᾱ), with β from 0.00085 to 0.012 linear in its root."""
    low, high = 0.00085**0.5, 0.012**0.5
    kept, sigmas = 1.0, []
    for step in range(_TIMESTEPS):
        kept *= 1 - (low + (high - low) * step / (_TIMESTEPS - 1)) ** 2
        sigmas.append(math.sqrt((1 - kept) / kept))
    return sigmas


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
    """How a large leg is held to the picture before it.

    Attributes:
        weight: in [0, 1], of the low frequencies at the leg's start.
        until: the share of the leg's steps over which it fades to nothing (a half cosine); above 1: it never fades.
        period: what counts as low, in latents of the leg's size: all that changes more slowly.
    """

    weight: float
    until: float
    period: float


def tie_weight(tie: Tie, done: float, steps: float) -> float:
    """The tie's weight after `done` of a leg's `steps`: a half cosine from `weight` to 0 at `until` of the way.

    Every published tie fades: DemoFusion's and FreeScale's as a power of a cosine, DiffuseHigh's after a third.
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
    2(2), 1980, with the local mean taken as 0. What stands well above the floor is kept, what does not goes to 0.

    Args:
        values: floating point, of shape (batch, channels, height, width).
        floor: at least 0, in the values' own unit; 0 returns them as they are.
    """
    if floor == 0:
        return values
    # float32: bfloat16 has no digits for a difference of powers.
    squares = values.float().square().mean(dim=1, keepdim=True)
    power = avg_pool2d(squares, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)
    # No smaller than the floor's own power: the share kept is then 0, and nothing is divided by 0.
    kept = 1 - floor**2 / power.clamp(min=floor**2)
    return (values * kept).to(values.dtype)


def low_pass(values: Tensor, period: float) -> Tensor:
    """What of `values` changes more slowly than `period` pixels: means over cells of that side, joined smoothly.

    Args:
        values: floating point, of shape (batch, channels, height, width).
        period: side of a cell in pixels, at least 1; 1 returns `values` as they are. A picture smaller than one cell
            has one cell: its mean.

    Returns:
        A tensor of the shape of `values`; constant values come back unchanged.
    """
    if period <= 1:
        return values
    height, width = values.shape[-2:]
    cells = (max(1, round(height / period)), max(1, round(width / period)))
    # float32: bfloat16 has no bicubic on every device, and a mean over many pixels would lose it digits.
    means = interpolate(values.float(), size=cells, mode="area")
    return interpolate(means, size=(height, width), mode="bicubic").to(values.dtype)


def with_low_frequencies_of(values: Tensor, other: Tensor, period: float, weight: float) -> Tensor:
    """`values` with a share `weight` in [0, 1] of their low frequencies taken from `other`; 0 is the identity.

    All tensors of shape (batch, channels, height, width); `period` as for `low_pass`.
    """
    if weight == 0:
        return values
    # Linear, so one low pass of the difference does for both.
    return values + weight * low_pass(other - values, period)
