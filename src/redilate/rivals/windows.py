"""Windows of a feature map, shifted: what HiDiffusion's attention looks through."""

from __future__ import annotations

from torch import Tensor

from ..pipelines.families import Size


def into_windows(tokens: Tensor, size: Size, window: Size, shift: Size) -> Tensor:
    """Cut a feature map's tokens into windows.

    Args:
        tokens: (B, H · W, C), row by row.
        size: (H, W).
        window: (h, w) that divide H and W.
        shift: how far down and right the first window begins; what it leaves over comes around from the other side.

    Returns:
        (B · H/h · W/w, h · w, C), the windows of one picture after another, row by row.
    """
    (height, width), (tall, wide) = size, window
    batch, _, channels = tokens.shape
    grid = tokens.reshape(batch, height, width, channels).roll((-shift[0], -shift[1]), (1, 2))
    grid = grid.reshape(batch, height // tall, tall, width // wide, wide, channels)
    return grid.transpose(2, 3).reshape(-1, tall * wide, channels)


def from_windows(windows: Tensor, size: Size, window: Size, shift: Size) -> Tensor:
    """The tokens (B, H · W, C) that `into_windows` cut up."""
    (height, width), (tall, wide) = size, window
    channels = windows.shape[-1]
    grid = windows.reshape(-1, height // tall, width // wide, tall, wide, channels).transpose(2, 3)
    grid = grid.reshape(-1, height, width, channels).roll(shift, (1, 2))
    return grid.reshape(-1, height * width, channels)
