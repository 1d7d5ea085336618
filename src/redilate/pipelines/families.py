"""What kind of model a pipeline's networks are: its row of defaults, the size that it was trained at, how many
times larger a target is, and what tells its weights from others.
"""

from __future__ import annotations

import math
import re
from hashlib import blake2b
from typing import Any

import torch
from torch import nn

from ..errors import RedilateError
from ..plans import defaults, published
from ..plans.plan import convolutions, count_resolution_levels

Size = tuple[int, int]  # (height, width)

SUPPORTED = "Stable Diffusion 1.5, 2.1, SDXL, Kolors, Kandinsky 2.2 and their fine-tunes"


def unet_of(pipe_or_unet: Any) -> nn.Module:
    """The U-Net of a pipeline, or the U-Net itself; out of `torch.compile`'s wrapper, if it stands in one.

    Raises:
        RedilateError: for a pipeline without one; transformers have no convolutions to re-dilate.
    """
    unet = pipe_or_unet if isinstance(pipe_or_unet, nn.Module) else getattr(pipe_or_unet, "unet", None)
    if not isinstance(unet, nn.Module):
        raise RedilateError(_no_unet(type(pipe_or_unet).__name__))
    unet = unwrap(unet)
    if not hasattr(unet, "down_blocks"):
        raise RedilateError(_no_unet(type(unet).__name__))
    return unet


def _no_unet(name: str) -> str:
    return (
        f"{name} has no diffusion U-Net: re-dilation acts on convolutions, and a transformer (Flux, SD3, PixArt) has "
        f"none; supported are the U-Net pipelines: {SUPPORTED}"
    )


def controlnets_of(pipe: Any) -> list[nn.Module]:
    """The ControlNets of a pipeline, out of the container of several; none for a bare U-Net."""
    control = getattr(pipe, "controlnet", None)
    if isinstance(pipe, nn.Module) or not isinstance(control, nn.Module):
        return []
    nets = getattr(control, "nets", None)
    return list(nets) if nets is not None else [control]


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile(module)`'s wrapper; any other as it is."""
    return getattr(module, "_orig_mod", module)


def family_of(unet: nn.Module) -> published.Family | None:
    """Which published family a U-Net belongs to, by its structure; None for any other."""
    config: Any = unet.config
    levels = len(config.block_out_channels)
    if levels == 3 and getattr(config, "addition_embed_type", None) == "text_time":
        return "sdxl"
    if levels == 4 and config.cross_attention_dim in (768, 1024):
        return "sd15" if config.cross_attention_dim == 768 else "sd21"
    return None


def latent_scale(pipe: Any) -> int:
    """Pixels per latent, 8 for Stable Diffusion."""
    scale = getattr(pipe, "vae_scale_factor", None)
    if scale is None:
        scale = getattr(pipe, "movq_scale_factor", 8)  # Kandinsky
    return int(scale)


def unit_of(pipe: Any) -> int:
    """What sides should be multiples of, in pixels, so that every level of the U-Net has whole maps."""
    return latent_scale(pipe) * 2 ** (count_resolution_levels(convolutions(unet_of(pipe))) - 1)


def prediction_channels(pipe: Any, unet: nn.Module) -> int | None:
    """How many leading channels of a U-Net's output are the prediction, where a learned variance follows them."""
    config: Any = unet.config
    decoder = getattr(pipe, "vae", None) or getattr(pipe, "movq", None)
    if decoder is None:
        return None
    latents = getattr(decoder.config, "latent_channels", None)
    return latents if latents is not None and config.out_channels == 2 * latents else None


# The names that few-step checkpoints are published under.
_DISTILLED_NAME = re.compile(r"(?i)(?<![a-z])(turbo|lightning|lcm|hyper-?sd\w*|hyper|dmd2?|tcd)(?![a-z])")
_DISTILLED_SCHEDULERS = {"LCMScheduler", "TCDScheduler"}
_BUNDLED_TEXT_WIDTH = 192


def defaults_family(pipe: Any) -> defaults.Family:
    """The row for a pipeline or a U-Net, by structure; a distilled model also by its scheduler, name or adapters."""
    unet = unet_of(pipe)
    config: Any = unet.config
    if _is_distilled(pipe, unet):
        return "distilled"
    if getattr(config, "cross_attention_dim", None) == _BUNDLED_TEXT_WIDTH:
        return "bundled"
    return family_of(unet) or "unknown"


def _is_distilled(pipe: Any, unet: Any) -> bool:
    # An LCM network is told its guidance weight by an embedding of its own.
    if getattr(unet.config, "time_cond_proj_dim", None) is not None:
        return True
    if type(getattr(pipe, "scheduler", None)).__name__ in _DISTILLED_SCHEDULERS:
        return True
    names = [str(getattr(getattr(one, "config", None), "_name_or_path", None) or "") for one in (pipe, unet)]
    names += list(getattr(unet, "peft_config", {}))
    return any(_DISTILLED_NAME.search(name) for name in names)


# Where the configuration says something else than what the checkpoint was trained at.
_BY_CLASS: dict[str, Size] = {
    "UNetSpatioTemporalConditionModel": (576, 1024)
}  # Stable Video Diffusion says 768²
_BY_NAME: tuple[tuple[str, Size], ...] = (
    (r"\billustrious[-_]?xl[-_]?v[12]", (1536, 1536)),  # says 1024², as its base; v0.1 is
    (r"\b(sd|sdxl|sd_xl)[-_]turbo", (512, 512)),  # a single file is taken for its base
)
# SDXL was trained on buckets of about 1024² pixels with sides from 512 to 2048.
_WIDEST_BUCKET = 4.0
_SDXL_TEXT_WIDTHS = (2048, 1280)


def native_size(pipe_or_unet: Any, override: int | Size | None = None) -> Size:
    """The size in pixels, (height, width), that a checkpoint was trained at.

    Args:
        pipe_or_unet: a pipeline, or its U-Net (8 pixels per latent are then taken).
        override: what the user says: one side or (height, width).

    Raises:
        RedilateError: if neither the user nor the configuration says it.
    """
    if override is not None:
        height, width = (override, override) if isinstance(override, int) else override
        if height <= 0 or width <= 0:
            raise RedilateError(f"native_size is a side or (height, width) in pixels above 0, not {override}")
        return height, width
    unet = unet_of(pipe_or_unet)
    if type(unet).__name__ in _BY_CLASS:
        return _BY_CLASS[type(unet).__name__]
    for pattern, size in _BY_NAME:
        if any(re.search(pattern, name, re.IGNORECASE) for name in _names(pipe_or_unet, unet)):
            return size
    scale = latent_scale(pipe_or_unet)
    height, width = native_latents(unet)
    return height * scale, width * scale


def native_latents(unet: nn.Module) -> Size:
    """The latent size (height, width) that a U-Net's configuration names.

    Raises:
        RedilateError: if it does not say.
    """
    size = getattr(unet.config, "sample_size", None)
    if size is None:
        raise RedilateError("the U-Net's configuration names no sample_size; pass native_size= in pixels")
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def ratio_to_native(target: Size, native: Size, buckets: bool) -> tuple[float, float]:
    """How many times the size that the network knows best `target` is, (height, width).

    Most models know one size, and each axis is measured against its own side. SDXL and its kin were trained on
    buckets of one area and many shapes: 768×1344 is as native as 1024×1024. There the measure is the bucket of the
    target's own shape, down to 1:4; a longer picture is measured against the longest bucket.

    Args:
        target, native: (height, width) in pixels.
        buckets: whether the model knows them, `knows_buckets`; a native size that is no square is taken as it is.
    """
    if not buckets or native[0] != native[1]:
        return target[0] / native[0], target[1] / native[1]
    shape = min(max(target[1] / target[0], 1 / _WIDEST_BUCKET), _WIDEST_BUCKET)
    return target[0] * math.sqrt(shape) / native[0], target[1] / (native[1] * math.sqrt(shape))


def knows_buckets(unet: nn.Module) -> bool:
    """Whether a model was trained on many shapes: SDXL, its pruned kin and Kolors, known by conditioning and text.

    The text is two encoders' side by side, and for SDXL's refiner that of the larger one alone.
    """
    config: Any = unet.config
    return (
        getattr(config, "addition_embed_type", None) == "text_time"
        and getattr(config, "cross_attention_dim", None) in _SDXL_TEXT_WIDTHS
    )


def _names(pipe_or_unet: Any, unet: nn.Module) -> list[str]:
    """The names that a pipeline and its U-Net were loaded under."""
    owners = (pipe_or_unet, unet)
    return [str(getattr(getattr(owner, "config", None), "_name_or_path", None) or "") for owner in owners]


# Values looked at in each tensor: a fingerprint of gigabytes must cost nothing.
_SAMPLES = 16


def weights_fingerprint(pipe: Any) -> str:
    """Twelve hex digits that differ where weights differ: a hash of every tensor's name, shape and some values.

    It tells trainings apart, and float32 from bfloat16; it is no proof against somebody who wants two to be alike.
    """
    told: list[tuple[str, int]] = []  # what a tensor is called, and how many of the values are its
    values: dict[torch.device, list[torch.Tensor]] = {}
    order: list[tuple[torch.device, int]] = []
    for part, module in sorted(pipe.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        for name, tensor in sorted(module.state_dict().items()):
            few = [] if tensor.is_meta else [_few(tensor)]  # sequential offload keeps the values elsewhere
            values.setdefault(tensor.device, []).extend(few)
            told.append((f"{part}.{name}{tuple(tensor.shape)}", sum(one.numel() for one in few)))
            order.append((tensor.device, len(few)))
    # One copy from each device, and not one, with a wait, for each of some thousand tensors.
    read = {device: torch.cat(found).cpu().numpy() for device, found in values.items() if found}
    digest, at = blake2b(digest_size=6), dict.fromkeys(read, 0)
    for (name, count), (device, has) in zip(told, order, strict=True):
        digest.update(name.encode())
        if has:
            digest.update(read[device][at[device] : at[device] + count].tobytes())
            at[device] += count
    return digest.hexdigest()


def _few(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().flatten()
    # In half precision a float32 file is the same model, loaded as float32 or as float16.
    return flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].to(torch.float16)
