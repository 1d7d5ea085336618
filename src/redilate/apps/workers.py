"""What commands that draw with several processes share: a worker's device, its pipeline, and the cores there are."""

from __future__ import annotations

import os
from typing import Any, Literal

from .command_line import load_pipeline


def worker_devices(device: str | None) -> list[str | None]:
    """Where the workers' models go, in turn: every GPU, unless one device is named."""
    import torch

    if device in (None, "cuda") and torch.cuda.device_count() > 1:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [device]


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_pipe(
    model: str | None,
    dtype: str | None,
    scheduler: str | None,
    device: str | None,
    *,
    vae: str | None = None,
    lora: list[str] | None = None,
    offload: Literal["none", "model", "sequential"] | None = None,
) -> Any:
    """A worker's own pipeline; at a module's top level, so that it pickles."""
    return load_pipeline(
        model,
        device=device,
        dtype=dtype,
        scheduler=scheduler,
        quiet=True,
        vae=vae,
        lora=lora,
        offload=offload,
    )
