"""One stage: a prompt in, pictures out, at any size."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from ..errors import RedilateError
from ..pipelines.apply import check_size
from ..pipelines.families import Size, latent_scale
from ..pipelines.native import native_size as native_size_of
from ..plans.plan import Plan
from .patched import Method, patched

OnStep = Callable[[int, int], None]
OnLatents = Callable[[torch.Tensor], None]


@dataclass(frozen=True)
class Generation:
    """What `generate` made.

    Attributes:
        images: the pictures, in the order of `seeds`.
        seeds: picture k was made with seeds[k] and can be made again with it alone.
        plan: what was done to the U-Net, None for direct inference.
        seconds: wall time of all pictures together.
        settings: all that is needed to make them again, as plain data.
    """

    images: list[Image.Image]
    seeds: list[int]
    plan: Plan | None
    seconds: float
    settings: dict[str, Any]


def generate(
    pipe: Any,
    prompt: str,
    *,
    width: int | None = None,
    height: int | None = None,
    seed: int = 0,
    steps: int = 25,
    guidance: float = 5.0,
    negative: str | None = None,
    count: int = 1,
    method: Method = "redilate",
    plan: Plan | None = None,
    native_size: int | Size | None = None,
    on_step: OnStep | None = None,
    on_latents: OnLatents | None = None,
) -> Generation:
    """Generate `count` pictures, one after another, each from a seed of its own.

    Args:
        pipe: a diffusers text-to-image pipeline with a U-Net. It is left as it was, also after an exception; one
            that `redilate.apply` has been called on is used as it stands.
        width, height: in pixels, multiples of the latent scale (8); None: the native size.
        seed: of the first picture; picture k has seed + k.
        steps: denoising steps, at least 1.
        guidance: classifier-free guidance weight; 1 or less: none.
        negative: what the picture should not show.
        method: "redilate", or "direct" for plain inference at that size.
        plan: for "redilate"; None: what `plan_for` says.
        native_size: as for `apply`.
        on_step: called after each denoising step with (steps done, steps in all), over all pictures.
        on_latents: called after `on_step` with the latents of that step, (1, channels, height / 8, width / 8).

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    scale = latent_scale(pipe)
    native_height, native_width = native_size_of(pipe, native_size)
    width = native_width if width is None else width
    height = native_height if height is None else height
    check_size(width, height, scale)
    _check(prompt, steps, count, method, plan)
    seeds = [seed + index for index in range(count)]
    started = time.monotonic()
    images = []
    with patched(pipe, method, plan, width, height, native_size) as used:
        for done, one in enumerate(seeds):
            extra = _progress(pipe, done, steps, count, on_step, on_latents)
            result = pipe(
                prompt=prompt,
                negative_prompt=negative,
                width=width,
                height=height,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(one),
                **extra,
            )
            images.append(result.images[0])
    settings = settings_of(
        pipe,
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        seed=seed,
        steps=steps,
        guidance=guidance,
        method=method,
        plan=used.model_dump(mode="json") if used is not None else None,
    )
    return Generation(images, seeds, used, time.monotonic() - started, settings)


def settings_of(pipe: Any, **asked: Any) -> dict[str, Any]:
    """What was asked for, with the scheduler and the versions that it depends on too: a `Generation.settings`."""
    return asked | {"scheduler": type(pipe.scheduler).__name__, "versions": versions()}


def versions() -> dict[str, str]:
    """The versions that a picture depends on."""
    import diffusers

    from .. import __version__

    return {"redilate": __version__, "diffusers": diffusers.__version__, "torch": torch.__version__}


def _check(prompt: str, steps: int, count: int, method: str, plan: Plan | None) -> None:
    if not isinstance(prompt, str):
        raise RedilateError(
            f"the prompt is one text, not {type(prompt).__name__}; call generate once for each"
        )
    if steps < 1:
        raise RedilateError(f"steps is {steps}; at least 1 is needed")
    if count < 1:
        raise RedilateError(f"count is {count}; at least 1 is needed")
    if method not in ("redilate", "direct"):
        raise RedilateError(f"unknown method {method!r}; known: redilate, direct")
    if method == "direct" and plan is not None:
        raise RedilateError("a plan was given, and direct inference uses none; leave one of them out")


def _progress(
    pipe: Any, done: int, steps: int, count: int, on_step: OnStep | None, on_latents: OnLatents | None
) -> dict[str, Any]:
    """Keyword arguments that make the pipeline report each step, where it can."""
    if on_step is None and on_latents is None:
        return {}
    if "callback_on_step_end" not in inspect.signature(pipe.__call__).parameters:
        return {}

    def report(_pipe: Any, index: int, _timestep: Any, arguments: dict) -> dict:
        if on_step is not None:
            on_step(done * steps + index + 1, count * steps)
        if on_latents is not None:
            on_latents(arguments["latents"])
        return arguments

    return {"callback_on_step_end": report}
