"""A prompt in, pictures out, at any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..decoding.decode import OnProgress
from ..pipelines.families import Size
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .drawing import Hires, Method, Request
from .resolve import resolve
from .run import Callbacks, Generation, OnDrawing, OnLatents, OnPicture, OnPreview, OnStep, run


def generate(
    pipe: Any,
    prompt: str | list[str] | None = None,
    *,
    width: int | None = None,
    height: int | None = None,
    seed: int = 0,
    steps: int = 25,
    guidance: float | None = None,
    strength: float | None = None,
    negative: str | None = None,
    count: int = 1,
    preset: Preset = "default",
    method: Method = "redilate",
    plan: Plan | Literal["none"] | None = None,
    hires: Hires | None = None,
    native_size: int | Size | None = None,
    extra: Mapping[str, Any] | None = None,
    sequential: bool = False,
    batch: int | None = None,
    windows: float | None = None,
    on_drawing: OnDrawing | None = None,
    on_step: OnStep | None = None,
    on_latents: OnLatents | None = None,
    on_preview: OnPreview | None = None,
    on_decode: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
    on_picture: OnPicture | None = None,
) -> Generation:
    """Generate pictures, each from a seed of its own.

    Args:
        pipe: a diffusers text-to-image pipeline with a U-Net. It is left as it was, also after an exception; one
            that `redilate.apply` has been called on is used as it stands, at full size from the first step.
        prompt: a text, or one for each picture; None with `prompt_embeds` in `extra`.
        width, height: in pixels, multiples of the latent scale (8); None: the native size.
        seed: of the first picture; picture k has seed + k; −1: any, and the one taken is recorded.
        steps: denoising steps of a whole denoising, at least 1.
        guidance: classifier-free guidance weight; 1 or less: none; None: the model family's default.
        strength: the noise level in (0, 1] at which the first large leg starts. 1 draws everything at full size, as
            the paper does; below, the picture is drawn at the native size and finished large: low keeps it, high
            invents. None: the model family's default (`plans.defaults`).
        negative: what the pictures should not show.
        count: how many pictures of each prompt.
        preset: "default"; "published" for ScaleCrafter's settings; "faithful" for a short second pass that keeps to
            the native picture.
        method: "redilate", or "direct" for the network as trained, at full size.
        plan: of the last leg, in place of the default; "none": no leg is re-dilated.
        hires: what is different in the second pass: prompt, guidance, steps, another pipeline, …
        native_size: the side, or (height, width), that the checkpoint was trained at, where its configuration does
            not say it (Illustrious 1.0 is 1536, SDXL Turbo 512).
        extra: further arguments of the pipeline's own call: a ControlNet's `image`, `ip_adapter_image`,
            `prompt_embeds`, …
        sequential: evaluate guidance one sample at a time, in half the U-Net's activations.
        batch: how many pictures of a prompt are drawn together at most, each within rounding as if drawn alone; where
            memory runs out, half as many, then one. None: several on a GPU; on a CPU, which is busy with one, one after
            another, bit for bit as if drawn alone. With `sequential`, `Hires.control`, or tensors,
            pictures or callbacks in `extra` always one after another.
        windows: the noise level in [0, 1] below which self-attention looks through windows, for speed; None: at none.
        on_drawing: called with the `Drawing`, before any work.
        on_step: called after each denoising step with (steps done, steps in all), over all pictures.
        on_latents: called after `on_step` with the latents of that step, of each picture (1, channels, height / 8,
            width / 8).
        on_preview: called with each picture at the native size, before its first large leg.
        on_decode: called with (work done, in all) while a picture is encoded or decoded in strips.
        on_note: called with a line that somebody should know, such as which words of a prompt are cut; None: a
            warning.
        on_picture: called with each finished picture and the settings that make it again alone.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    request = Request(
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        seed=seed,
        count=count,
        steps=steps,
        guidance=guidance,
        strength=strength,
        preset=preset,
        method=method,
        plan=plan,
        hires=hires or Hires(),
        native_size=native_size,
        windows=windows,
        sequential=sequential,
        batch=batch,
        extra=extra or {},
    )
    callbacks = Callbacks(on_drawing, on_step, on_latents, on_preview, on_decode, on_note, on_picture)
    return run(pipe, resolve(pipe, request), callbacks)
