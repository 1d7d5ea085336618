"""Drawing at the native size and enlarging the picture, by Lanczos or by a super-resolution network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ..generation.generate import generate
from ..generation.run import Generation
from ..generation.super_resolution import enlarge, enlarged_by, from_file, shipped_model
from ..generation.upscalers import UPSCALERS, Upscaler
from ..pipelines.apply import check_size
from ..pipelines.families import Size, latent_scale, unit_of
from ..pipelines.families import native_size as native_size_of
from ..plans.defaults import native_shape


def by_lanczos(pipe: Any, prompt: str, **arguments: Any) -> Generation:
    """One picture, drawn at the native area and enlarged with Lanczos' filter; arguments of `generation.generate`."""

    def lanczos(image: Image.Image, size: Size) -> Image.Image:
        return image.resize((size[1], size[0]), Image.Resampling.LANCZOS)

    return _draw(lanczos, "upscale_lanczos", {}, pipe, prompt, **arguments)


def by_network(
    pipe: Any,
    prompt: str,
    *,
    model: Upscaler = UPSCALERS[0],
    weights: str | Path | None = None,
    **arguments: Any,
) -> Generation:
    """One picture, drawn at the native area and enlarged by a network; the other arguments are `generation.generate`'s.

    Args:
        model: which of Real-ESRGAN's networks.
        weights: a file of another network, instead.
    """
    name = "upscale_esrgan"
    if weights is not None:
        how = partial(enlarge, network=from_file(weights))
        return _draw(how, name, {"weights": str(weights)}, pipe, prompt, **arguments)
    shipped_model(model)  # refuse before drawing if it is not installed
    if model == "realesr-animevideov3":
        name = "upscale_animevideo"
    return _draw(partial(enlarged_by, model), name, {"model": model}, pipe, prompt, **arguments)


def _draw(
    enlarge: Callable[[Image.Image, Size], Image.Image],
    name: str,
    parameters: dict[str, Any],
    pipe: Any,
    prompt: str,
    *,
    width: int,
    height: int,
    native_size: int | Size | None = None,
    **arguments: Any,
) -> Generation:
    """The native picture that `generate` would start from, enlarged by `enlarge`; sizes up to the native area are drawn
    directly.
    """
    check_size(width, height, latent_scale(pipe))
    native = native_size_of(pipe, native_size)
    larger = height * width > native[0] * native[1]
    drawn = native_shape((height, width), native, unit_of(pipe)) if larger else (height, width)
    made = generate(pipe, prompt, width=drawn[1], height=drawn[0], method="direct", **arguments)
    started = time.monotonic()
    images = [enlarge(image, (height, width)) for image in made.images]
    asked = {"width": width, "height": height, "method": name}
    told = {"drawn": f"{drawn[1]}x{drawn[0]}", **parameters}
    return replace(
        made,
        images=images,
        seconds=made.seconds + time.monotonic() - started,
        settings=made.settings | asked | {"parameters": told},
    )
