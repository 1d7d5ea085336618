"""What holds a large leg to the picture before it: shared low frequencies that fade, and a noise floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


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
