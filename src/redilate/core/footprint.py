"""How much memory a computation holds at its peak, found by running it on tensors without data.

A network on torch's "meta" device makes every tensor's shape and type but no contents: in a second, and in no memory,
it shows what would be alive at each moment. What a convolution's kernel takes inside itself is added
(`core.workspace`); attention is counted as the fused kernels do it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from .heap import Heap
from .workspace import convolution_copies


class _Alive(TorchDispatchMode):
    """Adds up the storages that operations make, for as long as each lives."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.peak = 0
        self._device = device
        # Only on a CPU do freed pieces stay: a GPU's are given back to whoever asks.
        self._memory = Heap() if device == "cpu" else Heap(mapped_from=0)
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_iter((args, kwargs)):
            if isinstance(tensor, Tensor):  # an input or a weight, of which a view may be made
                self._seen.add(tensor.untyped_storage())
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self._convolved(args[0], args[1], out)
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _convolved(self, features: Tensor, weight: Tensor, out: Tensor) -> None:
        copies = convolution_copies(features, weight, out, self._device)
        before, beside = (
            [(self._take(size), size) for size in sizes] for sizes in (copies.before, copies.beside)
        )
        for block in before:
            self._memory.give(*block)
        self._count(out.untyped_storage())
        for block in beside:
            self._memory.give(*block)

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        weakref.finalize(storage, self._memory.give, self._take(size), size).atexit = False

    def _take(self, size: int) -> int:
        start = self._memory.take(size)
        self.peak = max(self.peak, self._memory.resident)
        return start


class _FusedAttention(TorchFunctionMode):
    """Attention as the fused kernels do it, which never write the scores out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            query, _, value = (
                args[:3] if len(args) >= 3 else (kwargs[key] for key in ("query", "key", "value"))
            )
            # As they lay it out, so that putting the heads side by side again needs no copy.
            *batch, heads, tokens, _ = query.shape
            return query.new_empty((*batch, tokens, heads, value.shape[-1])).transpose(-2, -3)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def peak_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """Bytes that `run` takes at the moment when it takes most, its inputs and weights not included.

    Args:
        run: a computation on meta tensors.
        device: torch's type of the device that it is meant for, as kernels differ.
    """
    alive = _Alive(device)
    with alive, _FusedAttention():
        run()
    return alive.peak
