"""Low frequencies of pictures and latents: what a small picture already says about a large one."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


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
