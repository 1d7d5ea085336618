"""A picture in, a picture out: image-to-image at any size, re-dilated."""

from __future__ import annotations

import time
from typing import Any

import torch
from PIL import Image

from ..errors import RedilateError
from ..pipelines.apply import check_size
from ..pipelines.families import Size, latent_scale
from ..plans.plan import Plan
from .generate import Generation, Method, OnStep, _check, _patched, _progress, settings_of


def redraw(
    pipe: Any,
    prompt: str,
    image: Image.Image,
    *,
    strength: float = 0.6,
    width: int | None = None,
    height: int | None = None,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 5.0,
    negative: str | None = None,
    method: Method = "redilate",
    plan: Plan | None = None,
    native_size: int | Size | None = None,
    on_step: OnStep | None = None,
) -> Generation:
    """Draw a picture again from noise laid over it, through diffusers' own image-to-image pipeline.

    Args:
        pipe: as for `generate`; its networks are shared, not loaded again.
        image: enlarged or shrunk to the size asked for, whatever its ratio.
        strength: how much noise, above 0 to 1: a little changes details, 1 leaves nothing of the picture. Of `steps`,
            the pipeline takes this share.
        width, height: in pixels, multiples of the latent scale (8); None: the picture's own, rounded down to them.
        prompt, seed, steps, guidance, negative, method, plan, native_size, on_step: as for `generate`.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    scale = latent_scale(pipe)
    width = image.width // scale * scale if width is None else width
    height = image.height // scale * scale if height is None else height
    check_size(width, height, scale)
    _check(prompt, steps, 1, method, plan)
    if not 0 < strength <= 1:
        raise RedilateError(f"strength is {strength}; it is above 0 and at most 1")
    taken = int(steps * strength)
    if taken < 1:
        least = -int(-1 // strength)
        raise RedilateError(
            f"{steps} steps at strength {strength} leave none to take; {least} steps are the fewest"
        )
    other = _image_to_image(pipe)
    started = time.monotonic()

    def counted(done: int, _: int) -> None:
        if on_step is not None:
            on_step(done, taken)

    with _patched(pipe, method, plan, width, height, native_size) as used:
        result = other(
            prompt=prompt,
            negative_prompt=negative,
            image=image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS),
            strength=strength,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
            **_progress(other, 0, taken, 1, counted),
        )
    settings = settings_of(
        pipe,
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        seed=seed,
        steps=steps,
        strength=strength,
        guidance=guidance,
        method=method,
        plan=used.model_dump(mode="json") if used is not None else None,
    )
    return Generation([result.images[0]], [seed], used, time.monotonic() - started, settings)


def _image_to_image(pipe: Any) -> Any:
    """diffusers' image-to-image pipeline around the same networks."""
    from diffusers import AutoPipelineForImage2Image

    try:
        other = AutoPipelineForImage2Image.from_pipe(pipe)
    except ValueError as error:
        raise RedilateError(
            f"diffusers has no image-to-image pipeline for {type(pipe).__name__}; Stable Diffusion's and SDXL's have"
        ) from error
    other.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return other
