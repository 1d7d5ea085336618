"""`edit`: image to image, and with a mask inpainting, re-dilated."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

from PIL import Image

from ..decoding.decode import OnProgress
from ..errors import RedilateError
from ..pipelines.families import Size, latent_scale
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .bit_depth import to_eight_bits
from .drawing import Hires, Method, Request
from .photos import read_photo
from .resolve import resolve
from .run import Callbacks, Generation, OnDrawing, OnLatents, OnPicture, OnStep, run

STRENGTH = 0.6


def edit(
    pipe: Any,
    prompt: str | list[str] | None,
    image: Image.Image,
    *,
    mask: Image.Image | None = None,
    strength: float = STRENGTH,
    width: int | None = None,
    height: int | None = None,
    seed: int = 0,
    count: int = 1,
    steps: int = 25,
    guidance: float | None = None,
    negative: str | None = None,
    preset: Preset = "default",
    method: Method = "redilate",
    plan: Plan | Literal["none"] | None = None,
    native_size: int | Size | None = None,
    extra: Mapping[str, Any] | None = None,
    sequential: bool = False,
    batch: int | None = None,
    on_drawing: OnDrawing | None = None,
    on_step: OnStep | None = None,
    on_latents: OnLatents | None = None,
    on_decode: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
    on_picture: OnPicture | None = None,
) -> Generation:
    """Draw from `image` (SDEdit, arXiv 2108.01073) in one leg, with diffusers' image-to-image or inpainting pipeline.

    Args:
        pipe: a diffusers pipeline with a U-Net.
        image: it is resized to the size asked for, without keeping its ratio.
        mask: white where the picture is drawn anew, black where it is kept; None: everywhere.
        strength: the starting noise level in (0, 1], and the share of the steps taken; 1 keeps nothing.
        width, height: in pixels, multiples of the latent scale (8); None: the picture's own, rounded down to them.
        prompt, seed, count, steps, guidance, negative, preset, method, plan, native_size, extra, sequential,
            batch, on_drawing, on_step, on_latents, on_decode, on_note, on_picture: as for `generate`.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    if not isinstance(image, Image.Image) or (mask is not None and not isinstance(mask, Image.Image)):
        raise RedilateError(f"image and mask are Pillow pictures, not {type(image).__name__}")
    photo = read_photo(image, on_note=on_note or warnings.warn)
    scale = latent_scale(pipe)
    size = (
        max(scale, photo.width // scale * scale) if width is None else width,
        max(scale, photo.height // scale * scale) if height is None else height,
    )
    request = Request(
        prompt=prompt,
        negative=negative,
        width=size[0],
        height=size[1],
        seed=seed,
        count=count,
        steps=steps,
        guidance=guidance,
        strength=strength,
        preset=preset,
        method=method,
        plan=plan,
        hires=Hires(),
        native_size=native_size,
        sequential=sequential,
        batch=batch,
        extra=extra or {},
        image=photo,
        mask=None if mask is None else _read_mask(mask),
        from_picture="edit",
    )
    callbacks = Callbacks(
        on_drawing, on_step, on_latents, on_decode=on_decode, on_note=on_note, on_picture=on_picture
    )
    return run(pipe, resolve(pipe, request), callbacks)


def _read_mask(mask: Image.Image) -> Image.Image:
    try:
        return to_eight_bits(mask)[0].convert("L")
    except (RedilateError, OSError, ValueError) as error:
        raise RedilateError(f"cannot read the mask: {error}") from error
