"""Evaluating a guided batch one sample at a time: half the activations of [∅, c], in the same time.

Two torch hooks on the root do it: before a call they cut the batch to its first sample, after it they run the network
on the other samples and concatenate the outputs. A patch sees the whole batch on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from .guidance import GuidanceLayout
from .patch import argument_of, copy_containers, sample_of, take_unconditional, with_sample


@dataclass(frozen=True)
class _Rest:
    """A call whose other samples are yet to be run."""

    batch: int
    args: tuple
    kwargs: dict


class Sequential:
    """A context manager in which `root` evaluates a batch sample by sample, equal to the whole within rounding.

    Args:
        root: the network that a pipeline calls, or a wrapper around it; not one compiled in place, which bypasses
            hooks, nor one that needs its batch whole (perturbed-attention guidance).
    """

    def __init__(self, root: nn.Module):
        self._root = root
        self._rest: _Rest | None = None
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        # Inside a patch's hooks: after it on the way in, before it on the way out.
        self._hooks = [
            self._root.register_forward_pre_hook(self._before, with_kwargs=True),
            self._root.register_forward_hook(self._after, prepend=True, with_kwargs=True, always_call=True),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._rest = None

    def _before(self, root: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        self._rest = None
        batch = argument_of(args, kwargs, 0, "sample").shape[0]
        if batch < 2:
            return None
        self._rest = _Rest(batch, *copy_containers((args, kwargs)))
        return take_unconditional((args, kwargs), batch, GuidanceLayout(batch, 0))

    def _after(self, root: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        rest, self._rest = self._rest, None
        if rest is None or output is None:  # nothing was cut, or the network raised
            return output
        outputs = [sample_of(output)]
        for place in range(1, rest.batch):
            layout = GuidanceLayout(rest.batch, place)
            one_args, one_kwargs = take_unconditional((rest.args, rest.kwargs), rest.batch, layout)
            # `forward`, which accelerate replaces too, and not the call: its hooks have had this batch.
            outputs.append(sample_of(root.forward(*one_args, **one_kwargs)))
        return with_sample(output, torch.cat(outputs))
