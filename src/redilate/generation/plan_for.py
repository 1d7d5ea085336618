"""`plan_for`: the plan that `generate` uses at a size."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..pipelines.apply import Plans, check_size
from ..pipelines.families import Size, latent_scale
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .drawing import Request
from .resolve import resolve


def plan_for(
    pipe_or_unet: Any,
    *,
    width: int,
    height: int,
    strength: float | None = None,
    native_size: int | Size | None = None,
    preset: Preset = "default",
    windows: float | None = None,
) -> Plan:
    """The plan of the last leg of `generate` at this size, also if that leg starts below it.

    Args:
        pipe_or_unet: a diffusers pipeline, or its U-Net (with 8 pixels per latent).
        width, height: in pixels, multiples of the latent scale (8).
        strength, native_size, preset, windows: as for `generate`; strength 1 gives the plan that `redilate.apply`
            uses for a call of the pipeline at this size.

    Raises:
        RedilateError: for a size that latents cannot have, a model that has no such preset, or windows for a model
            without self-attention.
    """
    if isinstance(pipe_or_unet, nn.Module):
        return _of_unet(pipe_or_unet, (height, width), strength, native_size, preset, windows)
    request = Request(
        prompt="",
        width=width,
        height=height,
        strength=strength,
        native_size=native_size,
        preset=preset,
        windows=windows,
    )
    return resolve(pipe_or_unet, request).legs[-1].plan or Plan()


def _of_unet(
    unet: nn.Module,
    size: Size,
    strength: float | None,
    native_size: int | Size | None,
    preset: Preset,
    windows: float | None,
) -> Plan:
    """The same for a U-Net, without a scheduler to find a leg's start."""
    check_size(size[1], size[0], latent_scale(unet))
    plans = Plans(unet, native_size, preset)
    plan = plans.for_pixels(size, whole=strength == 1)
    return plan if windows is None else plans.with_windows(plan, size, windows)
