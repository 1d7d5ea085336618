"""Windows of a feature map, shifted: cutting its tokens up and putting them together again.

As in Swin (Liu et al., ICCV 2021, arXiv 2103.14030) and HiDiffusion (Zhang et al., ECCV 2024, arXiv 2311.17528). What
a shift pushes over one edge comes around from the other, without Swin's mask: a U-Net's attention knows no positions,
and seen whole, opposite edges attend to each other as well.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from .conv import Pair

_SHIFTS = 4  # per axis, as many as HiDiffusion has


@dataclass(frozen=True)
class Axis:
    """How one side of a map is cut.

    Attributes:
        count, length: how many windows of how many tokens.
        into: (count · length,) the token that stands at each place of each window.
        back: (side,) the place that each token is taken from.
    """

    count: int
    length: int
    into: Tensor
    back: Tensor


@dataclass(frozen=True)
class Layout:
    """How a map of (H, W) tokens is cut into windows: its rows and its columns."""

    rows: Axis
    columns: Axis

    @property
    def tokens(self) -> int:
        """H · W."""
        return len(self.rows.back) * len(self.columns.back)


def cut_axis(side: int, window: int, shift: float, device: torch.device | str | None = None) -> Axis:
    """Cut a side into the fewest windows of at most `window` tokens, all of one length.

    A side of H tokens has n = ⌈H / window⌉ windows of ⌈H / n⌉ tokens, the k-th from ⌊k H / n⌋. Where n does not
    divide H, neighbours have a token in common, which is taken from the later one: nothing is padded or masked.

    Args:
        side, window: in tokens, at least 1.
        shift: in windows, 0 to 1: how far the first one begins after the first token; a single window is not shifted.
        device: of the indices.
    """
    count = -(-side // window)
    length = -(-side // count)
    moved = int(shift * length) if count > 1 else 0
    numbers, places = torch.arange(count, device=device), torch.arange(side, device=device)
    into = (numbers * side // count)[:, None] + torch.arange(length, device=device)
    unshifted = (places - moved) % side
    owner = ((unshifted + 1) * count - 1) // side
    back = owner * length + unshifted - owner * side // count
    return Axis(count, length, ((into + moved) % side).flatten(), back)


def lay_out(
    size: Pair, window: Pair, shift: tuple[float, float], device: torch.device | str | None = None
) -> Layout | None:
    """How a map of `size` (H, W) tokens is cut into windows of at most `window` (h, w); None where one holds it all.

    Args:
        shift: per axis, see `cut_axis`.
    """
    if window[0] >= size[0] and window[1] >= size[1]:
        return None
    rows, columns = (cut_axis(*axis, device) for axis in zip(size, window, shift, strict=True))
    return Layout(rows, columns)


def into_windows(tokens: Tensor, layout: Layout) -> Tensor:
    """Cut a feature map's tokens (B, H · W, C), row by row, into windows.

    Returns:
        (B · windows, h · w, C), the windows of one picture after another, row by row.
    """
    rows, columns = layout.rows, layout.columns
    grid = tokens.unflatten(1, (len(rows.back), len(columns.back)))
    grid = grid.index_select(1, rows.into).index_select(2, columns.into)
    grid = grid.unflatten(2, (columns.count, columns.length)).unflatten(1, (rows.count, rows.length))
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, layout: Layout) -> Tensor:
    """The tokens (B, H · W, C) that `into_windows` cut up."""
    rows, columns = layout.rows, layout.columns
    shape = (-1, rows.count, columns.count, rows.length, columns.length)
    grid = windows.unflatten(1, (rows.length, columns.length)).unflatten(0, shape[:3]).transpose(2, 3)
    grid = grid.flatten(3, 4).flatten(1, 2)
    return grid.index_select(1, rows.back).index_select(2, columns.back).flatten(1, 2)


def shift_at(noise_level: float) -> tuple[float, float]:
    """How far windows are shifted at a noise level, (down, right), each 0, ¼, ½ or ¾ of a window.

    Drawn at random with the noise level for a seed: from step to step the seams stand elsewhere, whatever the schedule,
    and the same step of the same picture always has the same.
    """
    dice = random.Random(round(noise_level * 1_000_000))
    return dice.randrange(_SHIFTS) / _SHIFTS, dice.randrange(_SHIFTS) / _SHIFTS
