"""What a picture costs: seconds, peak memory, and how often the U-Net was evaluated."""

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
    """Attributes:
    seconds: wall time.
    memory: peak in MiB: on CUDA what torch had allocated, elsewhere what the process had resident, which holds
        Python and the weights too. Memory that an earlier picture has left to the process counts as well.
    evaluations: samples that went through the U-Net; classifier-free guidance takes two a step.
    """

    seconds: float = 0.0
    memory: float = 0.0
    evaluations: int = 0


@contextmanager
def metered(unet: nn.Module, device: torch.device) -> Iterator[Cost]:
    """What is done in the `with` costs what is yielded, known at its end; the U-Net computes what it always does.

    `device` is where the pipeline computes; an offloaded U-Net rests elsewhere.
    """
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
