"""What a size needs in memory, worked out before anything is computed, and what a device has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core.devices import device_bytes
from ..errors import RedilateError
from ..plans.plan import Plan
from .counting import decode_bytes, strips_bytes, unet_bytes
from .families import latent_scale, unet_of, unwrap

# (width, height) in pixels → the plan that a U-Net is re-dilated by at that size, None for the network as trained.
PlanAt = Callable[[int, int], Plan | None]

# The decode goes in strips where the untiled one would take more of the device than this. Of the whole device, not of
# what is free: so a machine always makes the same picture from the same seed, bit for bit.
STRIPS_ABOVE = 0.25
# On a CPU strips are faster, too, from about here on: they stay in its cache, and C's heap takes blocks of more than
# 32 MiB from the kernel each time anew, page by page (docs/performance.md).
STRIPS_ABOVE_ON_CPU = 256 * 2**20


class TooLarge(RedilateError):
    """A size that the device cannot hold.

    Attributes:
        offload: whether it could with the U-Net's weights alone, after `pipe.enable_model_cpu_offload()`.
    """

    def __init__(self, message: str, *, offload: bool = False):
        super().__init__(message)
        self.offload = offload


@dataclass(frozen=True)
class Memory:
    """Bytes that one picture needs: what is alive at the peak, and what convolutions take inside themselves.

    A process's peak is a little higher (docs/performance.md has both): memory freed in pieces is not all used again.

    Attributes:
        device: torch's type of the device that they are counted for.
        weights: of all of the pipeline's networks.
        unet: activations of one U-Net call on the guided batch; None for a network whose inputs are not known.
        unet_sequential: the same with guidance one sample at a time.
        decode: activations of the autoencoder's own decode; None where there is no AutoencoderKL.
        decode_strips: the same in strips.
    """

    device: str
    weights: int
    unet: int | None
    unet_sequential: int | None
    decode: int | None
    decode_strips: int | None

    def activations(self, *, sequential: bool = False, spills: bool = False) -> int:
        """The most that is alive at once beside the weights, with the decode in the cheaper of its two ways.

        `spills`: what a decode in strips keeps may wait in the host's memory, so that only the U-Net counts.
        """
        unet = self.unet_sequential if sequential else self.unet
        return max(unet or 0, _cheaper(self.decode, self.decode_strips, spills))

    def __str__(self) -> str:
        parts = [f"weights {gigabytes(self.weights)}"]
        if self.unet is not None and self.unet_sequential is not None:
            less = f" (sequential guidance {gigabytes(self.unet_sequential)})"
            parts.append(f"U-Net {gigabytes(self.unet)}{less if self.unet_sequential < self.unet else ''}")
        if self.decode is not None and self.decode_strips is not None:
            parts.append(f"decode {gigabytes(self.decode)} (in strips {gigabytes(self.decode_strips)})")
        return f"memory on {self.device}, about: " + ", ".join(parts)


def gigabytes(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**20 * 100 else f"{size / 2**20:.1f} MiB"


def memory_for(
    pipe: Any,
    width: int,
    height: int,
    *,
    plan: Plan | None = None,
    noise: float = 1.0,
    guided: bool = True,
    device: torch.device | str | None = None,
) -> Memory:
    """What a picture of width × height pixels needs of `pipe` as it is: its types, its structure.

    Args:
        pipe: a diffusers pipeline.
        width, height: in pixels.
        plan: what the U-Net is re-dilated by; None: as trained.
        noise: the noise level in [0, 1] that it starts at: what the plan does above is not needed.
        guided: whether guidance doubles the batch.
        device: that it is meant for; None: where the pipeline computes.
    """
    home = execution_device(pipe) if device is None else torch.device(device)
    rows, columns = _latent_size(pipe, width, height)
    weights = sum(_weights(part) for part in pipe.components.values() if isinstance(part, nn.Module))
    one = unet_bytes(pipe, 1, rows, columns, home, plan, noise)
    batch = unet_bytes(pipe, 2, rows, columns, home, plan, noise) if guided else one
    decodes = decode_bytes(pipe, rows, columns, home), strips_bytes(pipe, rows, columns, home)
    return Memory(home.type, weights, batch, one, *decodes)


def decodes_in_strips(pipe: Any, width: int, height: int) -> bool:
    """Whether the picture is so large for the device that its decode should go in strips."""
    device, size = execution_device(pipe), _latent_size(pipe, width, height)
    if strips_bytes(pipe, *size, device) is None or pipe.vae.use_tiling:
        return False
    untiled = decode_bytes(pipe, *size, device)
    bound = STRIPS_ABOVE * device_bytes(device)[1]
    if device.type == "cpu":
        bound = min(bound, STRIPS_ABOVE_ON_CPU)
    return untiled is not None and untiled > bound


def check_memory(
    pipe: Any, width: int, height: int, *, plan_at: PlanAt, guided: bool, sequential: bool, noise: float = 1.0
) -> None:
    """Refuse a size that the device cannot hold.

    Args:
        pipe: a diffusers pipeline.
        width, height: in pixels.
        plan_at: what the U-Net is re-dilated by at a size.
        guided: whether guidance doubles the batch.
        sequential: whether it is evaluated one sample at a time.
        noise: the noise level in [0, 1] that it starts at.

    Raises:
        TooLarge: with what is needed, what is free, and what would fit.
    """
    device, batch = execution_device(pipe), _batch(guided, sequential)
    free, figure = _free(pipe, device), _most(pipe, width, height, batch, plan_at, noise, device)
    if figure <= free:
        return
    how = " with sequential guidance" if guided and sequential else ""
    freed = _freed_by_offload(pipe, device)
    if offload := figure <= free + freed:
        remedy = (
            f"pipe.enable_model_cpu_offload() in place of pipe.to() frees {gigabytes(freed)}, and it fits"
        )
    else:
        remedy = _what_fits(pipe, width, height, batch, plan_at, noise, device)
    raise TooLarge(
        f"{width}x{height} needs about {gigabytes(figure)} beside the weights{how}, and {device} has "
        f"{gigabytes(max(0, free))} free; {remedy}",
        offload=offload,
    )


def fits(
    pipe: Any, width: int, height: int, *, plan_at: PlanAt, guided: bool, sequential: bool, noise: float = 1.0
) -> bool:
    """Whether the device can hold what `check_memory` would refuse otherwise; the same arguments."""
    device, batch = execution_device(pipe), _batch(guided, sequential)
    return _most(pipe, width, height, batch, plan_at, noise, device) <= _free(pipe, device)


def execution_device(pipe: Any) -> torch.device:
    """Where a pipeline computes, which under offload is not where its weights are."""
    return torch.device(getattr(pipe, "_execution_device", None) or next(unet_of(pipe).parameters()).device)


def _batch(guided: bool, sequential: bool) -> int:
    return 2 if guided and not sequential else 1


def _weights(part: nn.Module, device: torch.device | None = None) -> int:
    """Bytes of a network's weights: of all, or of those on `device`."""
    return sum(
        weight.numel() * weight.element_size()
        for weight in part.parameters()
        if device is None or weight.device == device
    )


def _free(pipe: Any, device: torch.device) -> int:
    """Bytes that a device has for activations, the U-Net's weights there or on their way."""
    unet = unet_of(pipe)
    offloaded = next(unet.parameters()).device != device  # it comes when it is called
    return device_bytes(device)[0] - (_weights(unet) if offloaded else 0)


def _freed_by_offload(pipe: Any, device: torch.device) -> int:
    """Bytes that `enable_model_cpu_offload` would free while the U-Net runs: the weights of all other networks."""
    if device.type in ("cpu", "mps"):  # one memory with the host
        return 0
    parts = (part for part in pipe.components.values() if isinstance(part, nn.Module))
    return sum(_weights(part, device) for part in parts if unwrap(part) is not unet_of(pipe))


def _most(
    pipe: Any, width: int, height: int, batch: int, plan_at: PlanAt, noise: float, device: torch.device
) -> int:
    """`Memory.activations` for one batch, counting no more than it needs."""
    size = _latent_size(pipe, width, height)
    unet = unet_bytes(pipe, batch, *size, device, plan_at(width, height), noise) or 0
    strips, spills = strips_bytes(pipe, *size, device), device.type == "cuda"
    if strips is not None and (spills or strips <= unet):  # then the untiled decode makes no difference
        return unet
    return max(unet, _cheaper(decode_bytes(pipe, *size, device), strips, spills))


def _cheaper(decode: int | None, strips: int | None, spills: bool) -> int:
    if spills and strips is not None:
        return 0
    return min((size for size in (decode, strips) if size is not None), default=0)


def _what_fits(
    pipe: Any, width: int, height: int, batch: int, plan_at: PlanAt, noise: float, device: torch.device
) -> str:
    free = _free(pipe, device)
    scale = latent_scale(pipe) * 8  # every level of a U-Net can be halved
    while max(width, height) > scale:
        width, height = (max(scale, side // 2 // scale * scale) for side in (width, height))
        if (smaller := _most(pipe, width, height, batch, plan_at, noise, device)) <= free:
            return f"{width}x{height} needs {gigabytes(smaller)}"
    return "no size fits"


def _latent_size(pipe: Any, width: int, height: int) -> tuple[int, int]:
    scale = latent_scale(pipe)
    return height // scale, width // scale
