"""`enlarge`: a picture of the user's, enlarged by large legs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from ..decoding.decode import OnProgress, decode
from ..errors import RedilateError
from ..pipelines.families import Size, latent_scale
from ..pipelines.support import check_pictures
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .drawing import Hires, Method, Request
from .photos import check_pixels, padded, read_photo
from .resolve import resolve
from .run import Callbacks, Generation, OnDrawing, OnStep, run

# The pipeline's names of arguments that have another name here.
_ALIASES = {"negative_prompt": "negative", "num_inference_steps": "steps", "guidance_scale": "guidance"}


def enlarge(
    pipe: Any,
    image: Image.Image | str | Path | Tensor,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    prompt: str | list[str] | None = None,
    negative: str | None = None,
    seed: int = 0,
    steps: int = 25,
    guidance: float | None = None,
    strength: float | None = None,
    preset: Preset = "default",
    method: Method = "redilate",
    plan: Plan | Literal["none"] | None = None,
    hires: Hires | None = None,
    native_size: int | Size | None = None,
    extra: Mapping[str, Any] | None = None,
    sequential: bool = False,
    on_drawing: OnDrawing | None = None,
    on_step: OnStep | None = None,
    on_decode: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
    **arguments: Any,
) -> Generation:
    """Enlarge a picture of any size and ratio by the same large legs as `generate`'s.

    The result has exactly the size asked for: the picture's right and bottom edges are continued to a multiple of 8
    pixels, and cut off at the end.

    Args:
        pipe: a diffusers pipeline with a U-Net that has an image-to-image counterpart; it is left as it was.
        image: a Pillow picture, the path of one, or latents as `output_type="latent"` gives them, (1, channels,
            height / 8, width / 8). A picture is turned upright by its EXIF, put on white if it is transparent, and has
            at most `photos.MAX_PIXELS`.
        scale: factor of both sides, above 1; or
        width, height: in pixels, one or both; the picture's ratio is kept.
        prompt: what the picture shows, or a text for each of several results; None: without guidance, or with
            `prompt_embeds`.
        negative, seed, steps, guidance, strength, preset, method, plan, hires, native_size, extra, sequential: as for
            `generate`.
        on_drawing, on_step, on_decode, on_note: as for `generate`.
        arguments: the pipeline's arguments by its names, such as `num_inference_steps` and `guidance_scale`.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    asked = {"negative": negative, "steps": steps, "guidance": guidance}
    for name, own in _ALIASES.items():
        if name in arguments:
            asked[own] = arguments.pop(name)
    photo = (
        _of_latents(pipe, image)
        if isinstance(image, Tensor)
        else read_photo(image, on_note=on_note or warnings.warn)
    )
    target = _target(photo, scale, width, height)
    unit = latent_scale(pipe)
    work = tuple(-(-side // unit) * unit for side in target)
    # The same scale on both axes keeps the ratio.
    start = padded(
        photo, *(side * have / side_of for side, have, side_of in zip(work, photo.size, target, strict=True))
    )
    further = {**(extra or {}), **arguments}
    embedded = further.get("prompt_embeds") is not None
    guided = prompt is not None or asked["negative"] is not None or embedded
    note = on_note or warnings.warn
    if asked["guidance"] is not None and not guided:
        note(f"guidance {asked['guidance']:g} has no effect without a prompt; it is drawn without guidance")
    request = Request(
        prompt=prompt if embedded else prompt or "",
        negative=asked["negative"],
        width=work[0],
        height=work[1],
        seed=seed,
        steps=asked["steps"],
        guidance=asked["guidance"] if guided else 1.0,
        strength=strength,
        preset=preset,
        method=method,
        plan=plan,
        hires=hires or Hires(),
        native_size=native_size,
        sequential=sequential,
        extra=further,
        image=start,
    )
    made = run(
        pipe, resolve(pipe, request), Callbacks(on_drawing, on_step, on_decode=on_decode, on_note=on_note)
    )
    told = {"width": target[0], "height": target[1], "enlarged_from": [photo.width, photo.height]}
    images = [image.crop((0, 0, *target)) for image in made.images]
    return replace(made, images=images, settings=made.settings | told)


@torch.no_grad()
def _of_latents(pipe: Any, latents: Tensor) -> Image.Image:
    """Decode latents as `output_type="latent"` gives them."""
    check_pictures(pipe)
    if latents.ndim != 4 or len(latents) != 1:
        raise RedilateError(
            f"latents of one picture have the shape (1, channels, h, w), not {tuple(latents.shape)}"
        )
    return pipe.image_processor.postprocess(decode(pipe, latents))[0]


def _target(
    photo: Image.Image, scale: float | None, width: int | None, height: int | None
) -> tuple[int, int]:
    """The size asked for, (width, height)."""
    if (scale is None) == (width is None and height is None):
        raise RedilateError("say how large: either scale, such as 4, or width and height")
    if scale is None:
        # If both sides are given, they must agree within a pixel.
        scale = width / photo.width if width is not None else (height or 0) / photo.height
    if not 1 < scale < float("inf"):
        raise RedilateError(
            f"a scale of {scale:g} does not enlarge a picture of {photo.width}x{photo.height}; above 1 does"
        )
    wide, high = round(photo.width * scale), round(photo.height * scale)
    if height is not None and width is not None and abs(height - high) > 1:
        raise RedilateError(
            f"{width}x{height} has not the ratio of the picture, {photo.width}x{photo.height}: {wide}x{high} has; "
            "crop the picture first for another ratio"
        )
    found = width or wide, height or high
    check_pixels(*found, "an enlarged picture")
    return found
