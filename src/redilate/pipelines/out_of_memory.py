"""What is done when a leg does not fit into memory: fewer pictures at a time, then guidance one sample at a time, then
networks that wait on the host.

Nothing is foretold: the pipeline is called as it is, and where the device runs out of memory called again in the next
thriftier way.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from ..core.devices import has_own_memory, is_out_of_memory, release
from ..core.sequential import Sequential
from ..errors import RedilateError
from .families import unet_of

Given = TypeVar("Given")
Made = TypeVar("Made")

# From how many pixels × samples on a network's batch was too large: the next picture need not find out anew.
_too_large: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


class Sparing:
    """The memory that the legs of one drawing take: no less than they can have, no more than there is.

    Attributes:
        sequential: whether guidance was evaluated one sample at a time, as asked or where only that fitted.

    Args:
        sequential: whether it is asked for.
        note: called with a line at each fall-back.
    """

    def __init__(self, sequential: bool, note: Callable[[str], None]):
        self.sequential = sequential
        self._asked = sequential
        self._note = note

    def denoise(
        self,
        pipe: Any,
        size: tuple[int, int],
        guided: bool,
        pictures: Sequence[Given],
        call: Callable[[Sequence[Given]], list[Made]],
    ) -> list[Made]:
        """What `call`, a call of `pipe`, makes of all pictures, as often as it takes: each time in a thriftier way.

        Args:
            pipe: under offload at the end, if only that fitted; its networks wait in the host's memory from then on.
            size: (height, width) in pixels.
            guided: whether a picture has two samples in the batch, and not one.
            pictures: at least one; handed to `call` together, or where memory runs out by halves, down to one.
            call: starts anew each time, from the leg's own start; one result for each picture. Where it gives fewer,
                no further one is called for.

        Raises:
            RedilateError: for sequential guidance on a network that does not allow it; or there is no thriftier way.
        """
        unet, device, pixels = unet_of(pipe), execution_device(pipe), size[0] * size[1]
        reason = needs_its_batch_whole(pipe)
        if self._asked and reason:
            raise RedilateError(reason)
        may = guided and reason is None
        one = 2 * pixels if guided else pixels
        known = _too_large.get(unet, math.inf)
        sequential = self._asked or (may and one >= known)
        where = f"{device} ran out of memory at {size[1]}x{size[0]}"
        at_once = 1 if sequential else len(pictures)  # one sample at a time: no faster for several pictures
        while at_once > 1 and at_once * one >= known:
            at_once //= 2
        made: list[Made] = []
        while True:
            part = pictures[len(made) : len(made) + at_once]
            self.sequential = self.sequential or sequential
            try:
                with Sequential(pipe.unet) if sequential else nullcontext():
                    found = call(part)
                made += found
                if len(found) < len(part) or len(made) == len(pictures):
                    return made
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error).strip().splitlines()
            release(device)
            if len(part) > 1 or (may and not sequential):
                _too_large[unet] = min(len(part) * one, _too_large.get(unet, len(part) * one))
            if len(part) > 1:
                at_once = len(part) // 2
                self._note(f"{where} with {len(part)} pictures at a time: once more with {at_once}")
            elif may and not sequential:
                sequential = True
                self._note(f"{where}: once more with guidance one sample at a time")
            elif offload(pipe):
                self._note(f"{where}: once more with each network in the host's memory until it is needed")
            else:
                raise RedilateError(
                    f"{where}, in the thriftiest way too; a smaller size, or half precision, needs less "
                    f"({said[0] if said else 'no more was said'})"
                )


def execution_device(pipe: Any) -> torch.device:
    """Where a pipeline computes, which under offload is not where its weights are."""
    return torch.device(getattr(pipe, "_execution_device", None) or next(unet_of(pipe).parameters()).device)


def offload(pipe: Any) -> bool:
    """Have each network wait in the host's memory until it is needed, and compute where the pipeline computes now.

    Returns:
        Whether that changed anything: not on a device that shares the host's memory, nor where networks wait already.
    """
    device = execution_device(pipe)
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    waiting = any(hasattr(module, "_hf_hook") for part in parts for module in (part, *part.children()))
    if not has_own_memory(device) or waiting:
        return False
    try:
        pipe.enable_model_cpu_offload(device=device)
    except (ValueError, NotImplementedError):  # group offload, a device map, weights that cannot be moved
        return False
    return True


def needs_its_batch_whole(pipe: Any) -> str | None:
    """Why a pipeline's network cannot run sequential guidance, and what helps; None where it can."""
    if getattr(pipe, "pag_applied_layers", None) is not None:
        return "perturbed-attention guidance needs its batch whole; leave sequential guidance out"
    if unet_of(pipe)._compiled_call_impl is not None:
        return "a U-Net compiled in place cannot run sequential guidance; use torch.compile(pipe.unet)"
    return None
