"""The plan that `generate` uses at a size."""

from __future__ import annotations

from typing import Any

from ..pipelines.families import Size
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .request import Request
from .resolve import resolve


def plan_for(
    pipe: Any,
    *,
    width: int,
    height: int,
    strength: float | None = None,
    native_size: int | Size | None = None,
    preset: Preset = "default",
    windows: float | None = None,
) -> Plan:
    """The plan of the last leg of `generate` at this size, in force or not.

    Args:
        pipe: a diffusers pipeline.
        width, height: in pixels, multiples of the latent scale (8).
        strength, native_size, preset, windows: as for `generate`; strength 1 gives the plan that `redilate.apply`
            uses for a call of the pipeline at this size.

    Raises:
        RedilateError: for a size that latents cannot have, a model that the preset says nothing of, or windows of a
            model that has no self-attention to look through them.
    """
    request = Request(
        prompt="",
        width=width,
        height=height,
        strength=strength,
        native_size=native_size,
        preset=preset,
        windows=windows,
    )
    return resolve(pipe, request).legs[-1].plan or Plan()
