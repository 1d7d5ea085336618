"""`generate`: text to image at any size."""

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
        pipe: a diffusers text-to-image pipeline with a U-Net. It is left as it was, also after an exception. If
            `redilate.apply` is in force on it, it draws at full size from the first step.
        prompt: a text, or one for each picture; None with `prompt_embeds` in `extra`.
        width, height: in pixels, multiples of the latent scale (8); None: the native size.
        seed: of the first picture; picture k has seed + k; −1: a random one, which is recorded.
        steps: steps of a whole denoising, at least 1.
        guidance: classifier-free guidance weight; 1 or less: none; None: the model family's default.
        strength: the noise level in (0, 1] at which the first large leg starts. 1 draws everything at full size, as
            the paper does. Below 1 the picture is first drawn at the native size: a low strength keeps that picture, a
            high one invents. None: the model family's default (`plans.defaults`).
        negative: what the pictures should not show.
        count: how many pictures of each prompt.
        preset: "default"; "published" for ScaleCrafter's settings; "faithful" for a short second pass that keeps close
            to the native picture.
        method: "redilate", or "direct" for the network as trained, at full size.
        plan: of the last leg, in place of the default; "none": no leg is re-dilated.
        hires: settings of the second pass: prompt, guidance, steps, another pipeline, …
        native_size: the side, or (height, width), that the checkpoint was trained at, if its configuration does not say
            it (Illustrious 1.0 is 1536, SDXL Turbo 512).
        extra: further arguments of the pipeline's own call: a ControlNet's `image`, `ip_adapter_image`,
            `prompt_embeds`, …
        sequential: evaluate guidance one sample at a time, with half the U-Net's activations.
        batch: how many pictures of a prompt may be drawn together, each within rounding as if drawn alone; fewer if
            memory runs out. None: several on a GPU; on a CPU one after another, bit for bit as if drawn alone. Always
            one after another with `sequential`, `Hires.control`, or tensors, pictures or callbacks in `extra`.
        windows: the noise level in [0, 1] below which self-attention is windowed, for speed; None: never.
        on_drawing: called with the `Drawing`, before any work.
        on_step: called after each denoising step with (steps done, steps in all), over all pictures.
        on_latents: called after `on_step` with the latents of that step, of each picture (1, channels, height / 8,
            width / 8).
        on_preview: called with each picture at the native size, before its first large leg.
        on_decode: called with (work done, in all) while a picture is encoded or decoded in strips.
        on_note: called with a line that the user should know, such as which words of a prompt are cut; None: a warning.
        on_picture: called with each finished picture and the settings that make it again.

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
