"""What kind of model a pipeline's networks are, by structure, and which row of defaults holds for it."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from ..errors import RedilateError
from ..plans import defaults, published
from ..plans.structure import convolutions, count_levels

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
    return latent_scale(pipe) * 2 ** (count_levels(convolutions(unet_of(pipe))) - 1)


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
