"""Devices and CPU cores for commands that draw with several processes."""

from __future__ import annotations

import os


def worker_devices(device: str | None) -> list[str | None]:
    """The workers' devices, in turn: every GPU, unless one device is named."""
    import torch

    if device in (None, "cuda") and torch.cuda.device_count() > 1:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [device]


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
