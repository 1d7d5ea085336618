"""Image to image: a prompt and a picture in, pictures out, re-dilated as any other."""

from __future__ import annotations

import time
from typing import Any

import torch
from PIL import Image

from ..errors import RedilateError
from ..pipelines.apply import check_size
from ..pipelines.families import Size, latent_scale
from ..pipelines.sparing import choose_sequential, sparing
from ..plans.plan import Plan
from .generate import Generation, OnLatents, OnStep, settings_of, step_callback
from .patched import Method, patched, plan_used


def edit(
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
    on_latents: OnLatents | None = None,
) -> Generation:
    """Draw one picture that starts from `image` (SDEdit, arXiv 2108.01073), with diffusers' own pipeline for that.

    Args:
        pipe: a diffusers text-to-image pipeline with a U-Net, whose parts the image-to-image pipeline shares.
        image: resized to the size asked for, without keeping its ratio.
        strength: in (0, 1], how much noise is added, and which share of the steps is taken; 1 keeps nothing.
        width, height: in pixels, multiples of the latent scale (8); None: the picture's own, rounded down to them.
        prompt, seed, steps, guidance, negative, method, plan, native_size, on_step, on_latents: as for `generate`;
            the steps in all are those that are taken.

    Where the device does not hold guidance's batch, guidance is evaluated one sample at a time.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    from diffusers import AutoPipelineForImage2Image

    scale = latent_scale(pipe)
    width = image.width // scale * scale if width is None else width
    height = image.height // scale * scale if height is None else height
    check_size(width, height, scale)
    if method == "direct" and plan is not None:
        raise RedilateError("a plan was given, and direct inference uses none; leave one of them out")
    if not 0 < strength <= 1:
        raise RedilateError(f"strength is {strength:g}; above 0 and up to 1 works")
    taken = int(steps * strength)
    if taken < 1:
        raise RedilateError(f"strength {strength:g} of {steps} steps is not one; more of either is needed")
    try:
        other: Any = AutoPipelineForImage2Image.from_pipe(pipe)
    except ValueError as error:
        raise RedilateError(f"diffusers has no image-to-image pipeline for {type(pipe).__name__}") from error
    other.set_progress_bar_config(disable=True)
    sequential = choose_sequential(
        other,
        width,
        height,
        plan_at=lambda wide, high: plan_used(other, method, plan, wide, high, native_size),
        guided=guidance > 1,
    )
    report = None if on_step is None else lambda done: on_step(done, taken)
    started = time.monotonic()
    with (
        patched(other, method, plan, width, height, native_size) as used,
        sparing(other, width, height, sequential=sequential),
    ):
        result = other(
            prompt=prompt,
            negative_prompt=negative,
            image=image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS),
            strength=strength,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
            **step_callback(other, report, on_latents),
        )
    settings = settings_of(
        pipe,
        used,
        None,
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        seed=seed,
        steps=steps,
        guidance=guidance,
        strength=strength,
        method=method,
        **({"sequential": True} if sequential else {}),
    )
    return Generation([result.images[0]], [seed], used, time.monotonic() - started, settings)
