"""What a size needs in memory, worked out before anything is computed, and what a device has.

The networks are built once more on torch's "meta" device, from their configurations, and run on tensors without data
(`core.footprint`): the figures follow from the structure, for any model, and no table is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ..core.footprint import peak_bytes
from ..decoding.decode import bytes_needed, working_type
from ..errors import RedilateError
from .families import latent_scale, unet_of, unwrap

# The decode goes in strips where the untiled one would take more of the device than this. Of the whole device, not of
# what is free: so a machine always makes the same picture from the same seed, bit for bit.
STRIPS_ABOVE = 0.25
_TEXT_TOKENS = 77


@dataclass(frozen=True)
class Memory:
    """Bytes that one picture needs: lower bounds, as a kernel's own workspace does not show.

    Attributes:
        weights: of all of the pipeline's networks.
        unet: activations of one U-Net call on the guided batch; None for a network whose inputs are not known.
        unet_sequential: the same with guidance one sample at a time.
        decode: activations of the autoencoder's own decode; None where there is no AutoencoderKL.
        decode_strips: the same in strips.
    """

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
        decodes = [size for size in (self.decode, self.decode_strips) if size is not None]
        if spills and self.decode_strips is not None:
            decodes = []
        return max(unet or 0, min(decodes, default=0))

    def __str__(self) -> str:
        parts = [f"weights {gigabytes(self.weights)}"]
        if self.unet is not None and self.unet_sequential is not None:
            parts.append(
                f"U-Net {gigabytes(self.unet)} (sequential guidance {gigabytes(self.unet_sequential)})"
            )
        if self.decode is not None and self.decode_strips is not None:
            parts.append(f"decode {gigabytes(self.decode)} (in strips {gigabytes(self.decode_strips)})")
        return "memory, at least: " + ", ".join(parts)


def gigabytes(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**20 * 100 else f"{size / 2**20:.1f} MiB"


def memory_for(pipe: Any, width: int, height: int, *, guided: bool = True) -> Memory:
    """What a picture of width × height pixels needs of `pipe` as it is: its types, its structure."""
    unet, scale = unet_of(pipe), latent_scale(pipe)
    rows, columns = height // scale, width // scale
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    weights = sum(weight.numel() * weight.element_size() for part in parts for weight in part.parameters())
    vae = getattr(pipe, "vae", None)
    decode = decode_strips = None
    if type(vae).__name__ == "AutoencoderKL":
        decode = _decoder_bytes(*_structure(vae), working_type(vae), rows, columns)
        decode_strips = _bytes_in_strips(pipe, rows, columns)
    dtype = next(unet.parameters()).dtype
    one = _unet_bytes(*_structure(unet), dtype, 1, rows, columns)
    batch = _unet_bytes(*_structure(unet), dtype, 2, rows, columns) if guided else one
    return Memory(weights, batch, one, decode, decode_strips)


def decodes_in_strips(pipe: Any, width: int, height: int) -> bool:
    """Whether the picture is so large for the device that its decode should go in strips."""
    vae: Any = getattr(pipe, "vae", None)
    scale = latent_scale(pipe)
    if type(vae).__name__ != "AutoencoderKL" or vae.use_tiling:
        return False
    rows, columns = height // scale, width // scale
    if _bytes_in_strips(pipe, rows, columns) is None:
        return False
    untiled = _decoder_bytes(*_structure(vae), working_type(vae), rows, columns)
    return untiled > STRIPS_ABOVE * device_bytes(execution_device(pipe))[1]


def check_memory(pipe: Any, width: int, height: int, *, guided: bool, sequential: bool) -> None:
    """Refuse a size that the device cannot hold.

    Raises:
        RedilateError: with what is needed, what is free, and what would fit.
    """
    device = execution_device(pipe)
    free, _ = device_bytes(device)
    if next(unet_of(pipe).parameters()).device != device:  # offloaded: it comes when it is called
        free -= sum(weight.numel() * weight.element_size() for weight in unet_of(pipe).parameters())
    spills = device.type == "cuda"
    needed = memory_for(pipe, width, height, guided=guided)
    figure = needed.activations(sequential=sequential, spills=spills)
    if figure <= free:
        return
    raise RedilateError(
        f"{width}x{height} needs at least {gigabytes(figure)} beside the weights, and {device} has "
        f"{gigabytes(max(0, free))} free; {_what_fits(pipe, width, height, guided, free, spills)}"
    )


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


def execution_device(pipe: Any) -> torch.device:
    """Where a pipeline computes, which under offload is not where its weights are."""
    return torch.device(getattr(pipe, "_execution_device", None) or next(unet_of(pipe).parameters()).device)


def _what_fits(pipe: Any, width: int, height: int, guided: bool, free: int, spills: bool) -> str:
    scale = latent_scale(pipe) * 8  # every level of a U-Net can be halved
    sequential = memory_for(pipe, width, height, guided=guided).activations(sequential=True, spills=spills)
    if guided and sequential <= free:
        return f"sequential guidance needs {gigabytes(sequential)}"
    while max(width, height) > scale:
        width, height = (max(scale, side // 2 // scale * scale) for side in (width, height))
        smaller = memory_for(pipe, width, height, guided=guided).activations(spills=spills)
        if smaller <= free:
            return f"{width}x{height} needs {gigabytes(smaller)}"
    return "no size fits"


def _bytes_in_strips(pipe: Any, rows: int, columns: int) -> int | None:
    try:
        return bytes_needed(pipe.vae, rows, columns, execution_device(pipe))
    except RedilateError:  # an autoencoder with other layers: its own decode is what there is
        return None


def _structure(network: Any) -> tuple[type, str]:
    """A network's class and configuration: all that its activations depend on, and a key to keep them by."""
    network = unwrap(network)
    public = {key: value for key, value in network.config.items() if not key.startswith("_")}
    return type(network), json.dumps(public, sort_keys=True)


def _rebuilt(kind: Any, config: str, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        # torch's own `to`: diffusers' warns of modules that a checkpoint keeps in float32.
        return nn.Module.to(kind.from_config(json.loads(config)), dtype).eval()


@lru_cache(maxsize=64)
def _decoder_bytes(kind: type, config: str, dtype: torch.dtype, rows: int, columns: int) -> int:
    vae = _rebuilt(kind, config, dtype)
    latents = torch.empty((1, vae.config.latent_channels, rows, columns), dtype=dtype, device="meta")
    return peak_bytes(lambda: vae.decode(latents))


@lru_cache(maxsize=64)
def _unet_bytes(
    kind: type, config: str, dtype: torch.dtype, batch: int, rows: int, columns: int
) -> int | None:
    unet = _rebuilt(kind, config, dtype)
    conditions = _conditions(unet.config, batch, dtype)
    if conditions is None or kind.__name__ != "UNet2DConditionModel":
        return None
    with torch.device("meta"):
        latents = torch.empty((batch, unet.config.in_channels, rows, columns), dtype=dtype)
        timestep = torch.ones(())
        return peak_bytes(lambda: unet(latents, timestep, **conditions))


def _conditions(config: Any, batch: int, dtype: torch.dtype) -> dict[str, Any] | None:
    """What a text-to-image U-Net takes beside latents and timestep; None for a kind that is not known."""
    if config.addition_embed_type not in (None, "text_time") or config.class_embed_type is not None:
        return None
    if config.encoder_hid_dim_type not in (None, "text_proj") or not isinstance(
        config.cross_attention_dim, int
    ):
        return None
    width = config.encoder_hid_dim or config.cross_attention_dim
    with torch.device("meta"):
        given: dict[str, Any] = {
            "encoder_hidden_states": torch.empty((batch, _TEXT_TOKENS, width), dtype=dtype)
        }
        if config.addition_embed_type == "text_time":
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            given["added_cond_kwargs"] = {
                "text_embeds": torch.empty((batch, pooled), dtype=dtype),
                "time_ids": torch.empty((batch, 6), dtype=dtype),
            }
    return given
