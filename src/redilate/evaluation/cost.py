"""What a picture costs: seconds, peak memory, and how often the U-Net was evaluated."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from .extra import needed

_EVERY = 0.01  # seconds between two looks at the process's memory


@dataclass(frozen=True)
class Cost:
    """Attributes:
    seconds: wall time.
    memory: peak in MiB: on CUDA what torch had allocated, elsewhere what the process had resident, which holds
        Python and the weights too. Memory that an earlier picture has left to the process counts as well.
    evaluations: samples that went through the U-Net; classifier-free guidance takes two a step.
    """

    seconds: float
    memory: float
    evaluations: int

    def as_json(self) -> dict[str, Any]:
        """The cost as JSON types."""
        return asdict(self)


class Meter:
    """`with Meter(unet, device) as meter: draw()`, then `meter.cost`: it changes nothing about what the U-Net does.

    `device` is where the pipeline computes; an offloaded U-Net rests elsewhere.
    """

    cost: Cost

    def __init__(self, unet: nn.Module, device: torch.device):
        self._unet = unet
        self._cuda = device if device.type == "cuda" else None

    def __enter__(self) -> Meter:
        self._evaluations = 0
        self._hook = self._unet.register_forward_pre_hook(self._count, with_kwargs=True)
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        self._resident = _ResidentPeak(run=self._cuda is None)
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.monotonic() - self._started
        self._hook.remove()
        peak = self._resident.stop()
        if self._cuda is not None:
            peak = torch.cuda.max_memory_allocated(self._cuda)
        self.cost = Cost(seconds, peak / 2**20, self._evaluations)

    def _count(self, _unet: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        sample = args[0] if args else kwargs["sample"]
        self._evaluations += len(sample)


class _ResidentPeak:
    """The largest resident memory of this process in bytes, looked at from a thread of its own."""

    def __init__(self, *, run: bool):
        self._process = needed("psutil").Process()
        self._peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if run:
            self._thread.start()

    def stop(self) -> int:
        """End the watch and return the peak."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        return max(self._peak, self._resident())

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._peak = max(self._peak, self._resident())

    def _resident(self) -> int:
        return self._process.memory_info().rss
