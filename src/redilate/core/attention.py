"""Self-attention that can look through windows while it keeps its parameters, processor and hooks.

The module's class is exchanged for a subclass, as a convolution's is (`core.conv`), so the attention processor, an
adapter on its projections and `torch.compile` go on as they were. Windows stand side by side in the batch, those of one
sample after another, so that a processor that cuts the batch into conditions cuts it in the same places.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

from .windows import Layout, from_windows, into_windows

_LAYOUT = "_redilate_windows"


class WindowedAttention(nn.Module):
    """A self-attention over tokens (B, N, C) that reads its windows' layout; without one it runs the original's code.

    So it does for a call that the layout is not for: one with a mask, with keys from elsewhere, or with another number
    of tokens (merged ones).
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
    """Make `attention` look through windows, in place, the whole map at first; `restore` undoes it."""
    if not isinstance(attention, WindowedAttention):
        attention.__class__ = _subclass(type(attention))
    attention.__dict__[_LAYOUT] = None


@cache
def _subclass(kind: type[nn.Module]) -> type[nn.Module]:
    # One for each class: a new one at every exchange would be a new graph for torch.compile.
    return type(f"Windowed{kind.__name__}", (WindowedAttention, kind), {})


def restore(attention: nn.Module) -> None:
    """Give `attention` its own class back and leave no trace; does nothing to one that was never exchanged."""
    attention.__dict__.pop(_LAYOUT, None)
    if isinstance(attention, WindowedAttention):
        attention.__class__ = type(attention).__bases__[-1]


def set_layout(attention: nn.Module, layout: Layout | None) -> None:
    """Set the windows of an exchanged attention for its next calls; None: the whole map."""
    attention.__dict__[_LAYOUT] = layout
