"""A network re-dilated for the time of one call, and left as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from redilate.core.conv import Dilation, exchange, restore, set_dilation
from redilate.plans.plan import Plan

from .layout import convolutions

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


def in_force(plan: Plan, level: float) -> dict[str, Dilation]:
    """Convolution → (d_h, d_w), for those that a plan dilates at a noise level."""
    return {name: factor for name, factor in plan.dilations(level).items() if factor != (1.0, 1.0)}


@contextmanager
def dressed(unet: nn.Module, plan: Plan, factors: Mapping[str, Dilation]) -> Iterator[None]:
    """The network with these dilations, for the time of a `with`, also if that ends by an exception.

    Threads that come to one network take turns, whether they dilate it or not. ComfyUI gives each GPU a network of
    its own, and there nobody waits.
    """
    with _lock_of(unet):
        known = convolutions(unet) if factors else {}
        try:
            for name, factor in factors.items():
                exchange(known[name], plan.dispersions.get(name), plan.fractional_of(name))
                set_dilation(known[name], factor)
            yield
        finally:
            for name in factors:
                restore(known[name])


def _lock_of(unet: nn.Module) -> threading.RLock:
    unet = getattr(unet, "_orig_mod", unet)  # out of torch.compile's wrapper
    with _guard:
        return _locks.setdefault(unet, threading.RLock())
