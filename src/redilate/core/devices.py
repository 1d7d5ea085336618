"""A device's memory, and its out-of-memory errors."""

from __future__ import annotations

import gc

import torch

# Messages of the CPU's and Metal's allocators, and of cuBLAS' and cuDNN's workspaces.
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


def device_bytes(device: torch.device) -> tuple[int, int]:
    """(free, total) bytes of a device's memory; what torch has reserved and does not use counts as free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return total - torch.mps.driver_allocated_memory(), total
    import psutil

    memory = psutil.virtual_memory()
    return memory.available, memory.total


def has_own_memory(device: torch.device) -> bool:
    """Whether a device has memory of its own beside the host's."""
    return device.type not in ("cpu", "mps", "meta")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device, or the host, ran out of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def release(device: torch.device) -> None:
    """Free the memory that torch has reserved on a device and does not use."""
    gc.collect()  # a traceback's frames keep tensors alive in cycles
    module = getattr(torch, device.type, None)
    if has_own_memory(device) or device.type == "mps":
        empty = getattr(module, "empty_cache", None)
        if empty is not None and module.is_available():  # type: ignore[union-attr]
            empty()
