"""How strong re-dilation is at each noise level.

A noise level is timestep / T: 1 is pure noise, 0 the finished picture. Schedules are functions of it and of nothing
else, so that they hold for any scheduler, any number of steps, and for pipelines that start late (image to image),
end early (a refiner's base) or evaluate the network several times a step (Heun).
"""

from __future__ import annotations

import bisect
import math
from functools import lru_cache
from typing import Literal

from .geometry import Dilation

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
