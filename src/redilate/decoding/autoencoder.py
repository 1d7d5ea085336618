"""Which autoencoder is meant, where it computes, and how its latents are scaled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RedilateError


def autoencoder_of(pipe_or_vae: Any) -> Any:
    """The autoencoder of a pipeline, or the autoencoder itself.

    Raises:
        RedilateError: for a pipeline without a `vae`.
    """
    if isinstance(pipe_or_vae, nn.Module):
        return pipe_or_vae
    vae = getattr(pipe_or_vae, "vae", None)
    if not isinstance(vae, nn.Module):
        raise RedilateError(
            f"{type(pipe_or_vae).__name__} has no vae; a pipeline that has one, or an AutoencoderKL, works"
        )
    return vae


def computing_device(vae: Any, like: Tensor | None = None) -> torch.device:
    """Where `vae` computes: under offload not where its weights wait; for one on the CPU where `like` is, if given.

    So a tensor and an autoencoder of which one is on a GPU meet there, not on the CPU.
    """
    if (device := _offloaded_from(vae)) is not None:
        return device
    return vae.device if like is None or vae.device.type not in ("cpu", "meta") else like.device


def has_weights(vae: Any) -> bool:
    """Whether `vae` can compute: under offload too, but not made on the device "meta" and never loaded."""
    return vae.device.type != "meta" or _offloaded_from(vae) is not None


def _offloaded_from(vae: Any) -> torch.device | None:
    """Where an offloaded autoencoder computes; None for any other."""
    for module in vae.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return _device(device)
        if (device := _onload_device(module)) is not None:
            return device
    return None


def _device(named: Any) -> torch.device:
    # accelerate names a GPU by its number, too
    return torch.device("cuda", named) if isinstance(named, int) else torch.device(named)


def _onload_device(module: nn.Module) -> torch.device | None:
    """Where diffusers' group offload brings a module's weights, if it does."""
    registry: Any = module.__dict__.get("_diffusers_hook")
    hook = None if registry is None else registry.get_hook("group_offloading")
    group = getattr(hook, "group", None)
    return None if group is None else _device(group.onload_device)


def unscale(vae: Any, latents: Tensor) -> Tensor:
    """Latents as a U-Net has them → as `vae.decode` takes them, as diffusers' pipelines do it."""
    config = vae.config
    mean, std = _statistics(config, latents)
    if mean is not None and std is not None:
        return latents * std / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)


def rescale(vae: Any, latents: Tensor) -> Tensor:
    """The reverse of `unscale`."""
    config = vae.config
    mean, std = _statistics(config, latents)
    if mean is not None and std is not None:
        return (latents - mean) * config.scaling_factor / std
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor


def working_type(vae: Any) -> torch.dtype:
    """The type to decode in: float32 for a float16 autoencoder that overflows in it, as SDXL's does; else its own."""
    if vae.dtype is torch.float16 and getattr(vae.config, "force_upcast", False):
        return torch.float32
    return vae.dtype


def _statistics(config: Any, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return None, None
    return torch.tensor(mean).view(1, -1, 1, 1).to(like), torch.tensor(std).view(1, -1, 1, 1).to(like)
