"""The size that a checkpoint was trained at, and how many times larger a target is."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import nn

from ..errors import RedilateError
from .families import Size, latent_scale, unet_of

# Where the configuration says something else than what the checkpoint was trained at.
_BY_CLASS: dict[str, Size] = {
    "UNetSpatioTemporalConditionModel": (576, 1024)
}  # Stable Video Diffusion says 768²
_BY_NAME: tuple[tuple[str, Size], ...] = (
    (r"illustrious-xl-v[12]\b", (1536, 1536)),  # says 1024², as its base
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
