"""What a device has of memory."""

from __future__ import annotations

import torch


def device_bytes(device: torch.device) -> tuple[int, int]:
    """(free, total) bytes of a device's memory; what torch has taken and does not use counts as free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return total - torch.mps.driver_allocated_memory(), total
    import psutil

    memory = psutil.virtual_memory()
    return memory.available, memory.total
