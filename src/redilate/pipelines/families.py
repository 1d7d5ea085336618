"""What kind of model a U-Net is, read off its configuration."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import RedilateError
from ..plans.published import Family

Size = tuple[int, int]  # (height, width)

_TIMESTEPS = "num_train_timesteps"


def unet_of(pipe_or_unet: Any) -> nn.Module:
    """The U-Net of a pipeline, or the U-Net itself.

    Raises:
        RedilateError: for a pipeline without one; transformers have no convolutions to re-dilate.
    """
    unet = pipe_or_unet if isinstance(pipe_or_unet, nn.Module) else getattr(pipe_or_unet, "unet", None)
    if not isinstance(unet, nn.Module):
        raise RedilateError(_no_unet(type(pipe_or_unet).__name__))
    if not hasattr(unet, "down_blocks"):
        raise RedilateError(_no_unet(type(unet).__name__))
    return unet


def _no_unet(name: str) -> str:
    return (
        f"{name} has no diffusion U-Net: re-dilation acts on convolutions, and a transformer (Flux, SD3, PixArt) has "
        "none; supported are the U-Net pipelines: Stable Diffusion 1.5, 2.1, SDXL and their fine-tunes"
    )


def family_of(unet: nn.Module) -> Family | None:
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
    return int(getattr(pipe, "vae_scale_factor", 8))


def native_latents(unet: nn.Module) -> Size:
    """The latent size (height, width) that a U-Net was trained at, from its configuration.

    Raises:
        RedilateError: if the configuration does not say.
    """
    size = getattr(unet.config, "sample_size", None)
    if size is None:
        raise RedilateError("the U-Net's configuration names no sample_size; pass native_size= in pixels")
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def as_pair(size: int | Size) -> Size:
    """A side or a (height, width) as (height, width)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
