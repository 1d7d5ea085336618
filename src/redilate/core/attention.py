"""Windowed self-attention that keeps the module's parameters, processor and hooks.

Only the module's class changes, to a subclass (as in `core.conv`), so attention processors, adapters and
`torch.compile` go on working. The windows become batch items, all windows of one sample after those of another, so
that a processor that splits the batch into conditions still splits it at the right places.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

from .windows import Layout, from_windows, into_windows

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


def exchange(attention: nn.Module) -> None:
    """Make `attention` windowed in place, with no layout yet; `restore` undoes it."""
    if not isinstance(attention, WindowedAttention):
        attention.__class__ = _subclass(type(attention))
    attention.__dict__[_LAYOUT] = None


@cache
def _subclass(kind: type[nn.Module]) -> type[nn.Module]:
    # Cached, because torch.compile makes a new graph for a new class.
    return type(f"Windowed{kind.__name__}", (WindowedAttention, kind), {})


def restore(attention: nn.Module) -> None:
    """Give `attention` its own class back; no-op for one that was never exchanged."""
    attention.__dict__.pop(_LAYOUT, None)
    if isinstance(attention, WindowedAttention):
        attention.__class__ = type(attention).__bases__[-1]


def set_layout(attention: nn.Module, layout: Layout | None) -> None:
    """Set the windows of an exchanged attention for its next calls; None: the whole map."""
    attention.__dict__[_LAYOUT] = layout
