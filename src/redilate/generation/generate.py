"""One stage: a prompt in, pictures out, at any size."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from ..core.patch import find_patch
from ..errors import RedilateError
from ..pipelines.apply import apply, check_size, plan_for
from ..pipelines.families import Size, latent_scale, unet_of
from ..pipelines.memory import check_memory
from ..pipelines.native import native_size as native_size_of
from ..pipelines.sparing import sparing
from ..plans.plan import Plan

Method = Literal["redilate", "direct"]
OnStep = Callable[[int, int], None]


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
    sequential: bool = False,
    on_step: OnStep | None = None,
) -> Generation:
    """Generate `count` pictures, one after another, each from a seed of its own.

    A picture that is large for the device is decoded in strips (`redilate.decode`), equal within rounding.

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
        sequential: evaluate guidance one sample at a time, in half the U-Net's activations.
        on_step: called after each denoising step with (steps done, steps in all), over all pictures.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    scale = latent_scale(pipe)
    native_height, native_width = native_size_of(pipe, native_size)
    width = native_width if width is None else width
    height = native_height if height is None else height
    check_size(width, height, scale)
    _check(prompt, steps, count, method, plan)
    check_memory(pipe, width, height, guided=guidance > 1, sequential=sequential)
    seeds = [seed + index for index in range(count)]
    started = time.monotonic()
    images = []
    with (
        _patched(pipe, method, plan, width, height, native_size) as used,
        sparing(pipe, width, height, sequential=sequential),
    ):
        for done, one in enumerate(seeds):
            extra = _progress(pipe, done, steps, count, on_step)
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


def _patched(
    pipe: Any, method: Method, plan: Plan | None, width: int, height: int, native_size: int | Size | None
) -> AbstractContextManager[Plan | None]:
    """The pipeline as `method` wants it, for the time of the `with`; yields the plan in use."""
    existing = find_patch(unet_of(pipe))
    if method == "direct":
        if existing is not None:
            raise RedilateError(
                "the pipeline is re-dilated; call redilate.remove(pipe) before direct inference"
            )
        return nullcontext(None)
    if existing is not None and plan is None:
        return nullcontext(existing.plan)  # type: ignore[arg-type]
    return _Applied(pipe, plan or plan_for(pipe, width=width, height=height, native_size=native_size))


class _Applied(AbstractContextManager):
    """`apply` for the time of a `with`, yielding the plan."""

    def __init__(self, pipe: Any, plan: Plan):
        self._handle = apply(pipe, plan)
        self._plan = plan

    def __enter__(self) -> Plan:
        return self._plan

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def _progress(pipe: Any, done: int, steps: int, count: int, on_step: OnStep | None) -> dict[str, Any]:
    """Keyword arguments that make the pipeline report each step, where it can."""
    if on_step is None or "callback_on_step_end" not in inspect.signature(pipe.__call__).parameters:
        return {}

    def report(_pipe: Any, index: int, _timestep: Any, arguments: dict) -> dict:
        on_step(done * steps + index + 1, count * steps)
        return arguments

    return {"callback_on_step_end": report}
