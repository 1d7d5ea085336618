"""A picture's seconds, peak memory and U-Net evaluations."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import nn

from ..core.patch import argument_of

_EVERY = 0.01  # seconds between two looks at the process's memory


@dataclass
class Cost:
    """The cost of one picture."""

    seconds: float = 0.0  # wall time
    # Peak in MiB: on CUDA torch's allocations, else the process's resident memory, with Python, the weights and what
    # earlier pictures have left.
    memory: float = 0.0
    evaluations: int = 0  # samples through the U-Net; classifier-free guidance takes two a step


@contextmanager
def metered(unet: nn.Module, device: torch.device) -> Iterator[Cost]:
    """A context that yields its cost, complete at its end; `device` is where the pipeline computes."""
    cost, over, process = Cost(), threading.Event(), psutil.Process()

    def count(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        cost.evaluations += len(argument_of(args, kwargs, 0, "sample"))

    def watch() -> None:
        ended = False
        while not ended:
            ended = over.wait(_EVERY)
            cost.memory = max(cost.memory, process.memory_info().rss / 2**20)

    hook = unet.register_forward_pre_hook(count, with_kwargs=True)
    watcher = threading.Thread(target=watch, daemon=True)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        watcher.start()
    started = time.monotonic()
    try:
        yield cost
    finally:
        cost.seconds = time.monotonic() - started
        hook.remove()
        if device.type == "cuda":
            cost.memory = torch.cuda.max_memory_allocated(device) / 2**20
        else:
            over.set()
            watcher.join()
