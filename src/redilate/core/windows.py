"""Self-attention through shifted windows of a feature map.

Only the module's class changes, to a subclass (as in `core.conv`), so attention processors, adapters and
`torch.compile` go on working. The windows become batch items, all windows of one sample after those of another, so
that a processor that splits the batch into conditions still splits it at the right places.

The windows are as in Swin (Liu et al., ICCV 2021, arXiv 2103.14030) and HiDiffusion (Zhang et al., ECCV 2024, arXiv
2311.17528). A shift wraps around the edges, without Swin's mask: a U-Net's attention has no positions, and over the
whole map opposite edges attend to each other too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .conv import Pair

_SHIFTS = 4  # per axis, as many as HiDiffusion has


@dataclass(frozen=True)
class Axis:
    """The windows along one side of a map.

    Attributes:
        count, length: how many windows of how many tokens.
        into: (count · length,) the token at each place of each window.
        back: (side,) the place that each token is read back from.
    """

    count: int
    length: int
    into: Tensor
    back: Tensor


@dataclass(frozen=True)
class Layout:
    """The windows of a map of (H, W) tokens."""

    rows: Axis
    columns: Axis

    @property
    def tokens(self) -> int:
        """H · W."""
        return len(self.rows.back) * len(self.columns.back)


def cut_axis(side: int, window: int, shift: float, device: torch.device | str | None = None) -> Axis:
    """Split a side into the fewest windows of at most `window` tokens, all of one length.

    A side of H tokens has n = ⌈H / window⌉ windows of ⌈H / n⌉ tokens, the k-th from ⌊k H / n⌋. If n does not divide H,
    neighbours share a token, which is read back from the later one: nothing is padded or masked.

    Args:
        side, window: in tokens, at least 1.
        shift: of the first window, in windows, 0 to 1; a single window is not shifted.
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
    """The windows, of at most `window` (h, w) tokens, of a map of `size` (H, W); None if one window holds it all.

    Args:
        shift: per axis, see `cut_axis`.
    """
    if window[0] >= size[0] and window[1] >= size[1]:
        return None
    rows, columns = (cut_axis(*axis, device) for axis in zip(size, window, shift, strict=True))
    return Layout(rows, columns)


def into_windows(tokens: Tensor, layout: Layout) -> Tensor:
    """Split a feature map's tokens (B, H · W, C) into windows (B · windows, h · w, C), row by row, picture by
    picture.
    """
    rows, columns = layout.rows, layout.columns
    grid = tokens.unflatten(1, (len(rows.back), len(columns.back)))
    grid = grid.index_select(1, rows.into).index_select(2, columns.into)
    grid = grid.unflatten(2, (columns.count, columns.length)).unflatten(1, (rows.count, rows.length))
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, layout: Layout) -> Tensor:
    """The inverse of `into_windows`: tokens (B, H · W, C)."""
    rows, columns = layout.rows, layout.columns
    shape = (-1, rows.count, columns.count, rows.length, columns.length)
    grid = windows.unflatten(1, (rows.length, columns.length)).unflatten(0, shape[:3]).transpose(2, 3)
    grid = grid.flatten(3, 4).flatten(1, 2)
    return grid.index_select(1, rows.back).index_select(2, columns.back).flatten(1, 2)


def shift_at(noise_level: float) -> tuple[float, float]:
    """The windows' shift (down, right) at a noise level, each 0, ¼, ½ or ¾ of a window.

    Random with the noise level as the seed: the seams move from step to step, and a repeated drawing has the same ones.
    """
    dice = random.Random(round(noise_level * 1_000_000))
    return dice.randrange(_SHIFTS) / _SHIFTS, dice.randrange(_SHIFTS) / _SHIFTS


_LAYOUT = "_redilate_windows"


class WindowedAttention(nn.Module):
    """A self-attention over tokens (B, N, C) that reads its window layout; without one it runs the original's code.

    It also does so for a call with a mask, with other keys, or with another number of tokens (merged ones).
    """

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **further: Any,
    ) -> Tensor:
        layout: Layout | None = self.__dict__.get(_LAYOUT)
        fits = layout is not None and hidden_states.ndim == 3 and hidden_states.shape[1] == layout.tokens
        if layout is None or not fits or encoder_hidden_states is not None or attention_mask is not None:
            return super().forward(hidden_states, encoder_hidden_states, attention_mask, **further)
        return from_windows(super().forward(into_windows(hidden_states, layout), **further), layout)


def exchange_attention(attention: nn.Module) -> None:
    """Make `attention` windowed in place, with no layout yet; `restore_attention` undoes it."""
    if not isinstance(attention, WindowedAttention):
        attention.__class__ = _subclass(type(attention))
    attention.__dict__[_LAYOUT] = None


@cache
def _subclass(kind: type[nn.Module]) -> type[nn.Module]:
    # Cached, because torch.compile makes a new graph for a new class.
    return type(f"Windowed{kind.__name__}", (WindowedAttention, kind), {})


def restore_attention(attention: nn.Module) -> None:
    """Give `attention` its own class back; no-op for one that was never exchanged."""
    attention.__dict__.pop(_LAYOUT, None)
    if isinstance(attention, WindowedAttention):
        attention.__class__ = type(attention).__bases__[-1]


def set_layout(attention: nn.Module, layout: Layout | None) -> None:
    """Set the windows of an exchanged attention for its next calls; None: the whole map."""
    attention.__dict__[_LAYOUT] = layout
