"""What kind of model a pipeline has: its family of defaults, its native size, and a fingerprint of its weights."""

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
    """The U-Net of a pipeline, or the U-Net itself, without `torch.compile`'s wrapper.

    Raises:
        RedilateError: for a pipeline without one.
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
    """The ControlNets of a pipeline; none for a bare U-Net."""
    control = getattr(pipe, "controlnet", None)
    if isinstance(pipe, nn.Module) or not isinstance(control, nn.Module):
        return []
    nets = getattr(control, "nets", None)
    return list(nets) if nets is not None else [control]


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside `torch.compile(module)`'s wrapper; any other unchanged."""
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
    """The pixels of which sides should be multiples, so that no level of the U-Net rounds its map."""
    return latent_scale(pipe) * 2 ** (count_resolution_levels(convolutions(unet_of(pipe))) - 1)


def prediction_channels(pipe: Any, unet: nn.Module) -> int | None:
    """How many leading channels of a U-Net's output are the prediction, if a learned variance follows them."""
    config: Any = unet.config
    decoder = getattr(pipe, "vae", None) or getattr(pipe, "movq", None)
    if decoder is None:
        return None
    latents = getattr(decoder.config, "latent_channels", None)
    return latents if latents is not None and config.out_channels == 2 * latents else None


# Names of few-step checkpoints.
_DISTILLED_NAME = re.compile(r"(?i)(?<![a-z])(turbo|lightning|lcm|hyper-?sd\w*|hyper|dmd2?|tcd)(?![a-z])")
_DISTILLED_SCHEDULERS = {"LCMScheduler", "TCDScheduler"}
_BUNDLED_TEXT_WIDTH = 192


def defaults_family(pipe: Any) -> defaults.Family:
    """The family of a pipeline or a U-Net, by structure; distilled models also by scheduler, name or adapters."""
    unet = unet_of(pipe)
    config: Any = unet.config
    if _is_distilled(pipe, unet):
        return "distilled"
    if getattr(config, "cross_attention_dim", None) == _BUNDLED_TEXT_WIDTH:
        return "bundled"
    return family_of(unet) or "unknown"


def _is_distilled(pipe: Any, unet: Any) -> bool:
    # An LCM network has an embedding of the guidance weight.
    if getattr(unet.config, "time_cond_proj_dim", None) is not None:
        return True
    if type(getattr(pipe, "scheduler", None)).__name__ in _DISTILLED_SCHEDULERS:
        return True
    names = [*_names(pipe, unet), *getattr(unet, "peft_config", {})]
    return any(_DISTILLED_NAME.search(name) for name in names)


# Native sizes of models whose configuration names another one.
_BY_CLASS: dict[str, Size] = {"UNetSpatioTemporalConditionModel": (576, 1024)}  # Stable Video Diffusion: 768²
_BY_NAME: tuple[tuple[str, Size], ...] = (
    (r"\billustrious[-_]?xl[-_]?v[12]", (1536, 1536)),  # 1024², as its base; v0.1 is
    (r"\b(sd|sdxl|sd_xl)[-_]turbo", (512, 512)),  # a single file has the configuration of its base
)
# SDXL was trained on buckets of about 1024² pixels with sides from 512 to 2048.
_WIDEST_BUCKET = 4.0
_SDXL_TEXT_WIDTHS = (2048, 1280)


def native_size(pipe_or_unet: Any, override: int | Size | None = None) -> Size:
    """The size in pixels, (height, width), that a checkpoint was trained at.

    Args:
        pipe_or_unet: a pipeline, or its U-Net (with 8 pixels per latent).
        override: the user's answer: one side or (height, width).

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
    """The latent size (height, width) in a U-Net's configuration; RedilateError if there is none."""
    size = getattr(unet.config, "sample_size", None)
    if size is None:
        raise RedilateError("the U-Net's configuration names no sample_size; pass native_size= in pixels")
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def ratio_to_native(target: Size, native: Size, buckets: bool) -> tuple[float, float]:
    """Target side over native side, (height, width).

    SDXL and models like it were trained on buckets of one area and many shapes: 768×1344 is as native as 1024×1024. For
    those the native size is the bucket with the target's shape, or the longest one (1:4) for a longer picture.

    Args:
        target, native: (height, width) in pixels.
        buckets: `knows_buckets`; ignored if the native size is not a square.
    """
    if not buckets or native[0] != native[1]:
        return target[0] / native[0], target[1] / native[1]
    shape = min(max(target[1] / target[0], 1 / _WIDEST_BUCKET), _WIDEST_BUCKET)
    return target[0] * math.sqrt(shape) / native[0], target[1] / (native[1] * math.sqrt(shape))


def knows_buckets(unet: nn.Module) -> bool:
    """Whether a model was trained on many shapes, by its conditioning: SDXL, its refiner, pruned versions, Kolors."""
    config: Any = unet.config
    return (
        getattr(config, "addition_embed_type", None) == "text_time"
        and getattr(config, "cross_attention_dim", None) in _SDXL_TEXT_WIDTHS
    )


def _names(pipe_or_unet: Any, unet: nn.Module) -> list[str]:
    """The names that a pipeline and its U-Net were loaded under."""
    owners = (pipe_or_unet, unet)
    return [str(getattr(getattr(owner, "config", None), "_name_or_path", None) or "") for owner in owners]


# Few values of each tensor, so that gigabytes of weights take no time.
_SAMPLES = 16


def weights_fingerprint(pipe: Any) -> str:
    """Twelve hex digits: a hash of every tensor's name, shape and some values.

    They differ between trainings and between float32 and bfloat16. This is not cryptographic.
    """
    told: list[tuple[str, int]] = []  # each tensor's name, and how many of the values are its
    values: dict[torch.device, list[torch.Tensor]] = {}
    order: list[tuple[torch.device, int]] = []
    for part, module in sorted(pipe.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        for name, tensor in sorted(module.state_dict().items()):
            few = (
                [] if tensor.is_meta else [_few(tensor)]
            )  # the values are elsewhere under sequential offload
            values.setdefault(tensor.device, []).extend(few)
            told.append((f"{part}.{name}{tuple(tensor.shape)}", sum(one.numel() for one in few)))
            order.append((tensor.device, len(few)))
    # One copy from each device, since each of thousands would wait for it.
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
    # In float16, so that a float32 file loaded as float16 has the same fingerprint.
    return flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].to(torch.float16)
