"""How strong re-dilation is at each noise level.

A noise level is timestep / T: 1 is pure noise, 0 the finished picture. Schedules are functions of it and of nothing
else, so that they hold for any scheduler, any number of steps, and for pipelines that start late (image to image),
end early (a refiner's base) or evaluate the network several times a step (Heun).
"""

from __future__ import annotations

import math
from typing import Literal

from .geometry import Dilation

Shape = Literal["hold", "progressive", "smooth"]

# The published settings count steps of fifty.
_PUBLISHED_STEPS = 50
# Fractional dilations cost up to four convolutions and every distinct one is a graph of its own under
# torch.compile, so the smooth decay moves in halves.
_SMOOTH_STEP = 0.5


def level_after(steps: float) -> float:
    """The noise level τ below which the network runs as trained, from the published "first `steps` of fifty"."""
    return round(1 - steps / _PUBLISHED_STEPS, 6)


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
