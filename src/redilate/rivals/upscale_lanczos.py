"""Drawing at the native size and enlarging the picture: what any way of drawing large has to beat."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from ..generation.generate import generate
from ..generation.run import Generation
from ..pipelines.apply import check_size
from ..pipelines.families import Size, latent_scale, unit_of
from ..pipelines.families import native_size as native_size_of
from ..plans.defaults import native_shape

NAME = "upscale_lanczos"


def draw_enlarged(
    enlarge: Callable[[Image.Image, Size], Image.Image],
    name: str,
    parameters: Mapping[str, Any],
    pipe: Any,
    prompt: str,
    *,
    width: int,
    height: int,
    native_size: int | Size | None = None,
    **arguments: Any,
) -> Generation:
    """A picture of the native area, the one that `generate` enlarges by default, made `height` × `width` by `enlarge`.

    A size that is no larger than the native area is drawn as it is.
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


def lanczos(image: Image.Image, size: Size) -> Image.Image:
    """`image` at `size` (height, width)."""
    return image.resize((size[1], size[0]), Image.Resampling.LANCZOS)


def draw(pipe: Any, prompt: str, **arguments: Any) -> Generation:
    """One picture, drawn at the native area and enlarged with Lanczos' filter; arguments of `generation.generate`."""
    return draw_enlarged(lanczos, NAME, {}, pipe, prompt, **arguments)
