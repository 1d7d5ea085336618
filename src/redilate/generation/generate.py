"""A prompt in, pictures out, at any size: in one stage, or as a relay."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from PIL import Image

from ..decoding.decode import OnProgress
from ..errors import RedilateError
from ..pipelines.apply import check_size
from ..pipelines.families import Size, latent_scale
from ..pipelines.native import native_size as native_size_of
from ..pipelines.sparing import sparing
from ..plans.plan import Plan
from .fitting import fit
from .modes import Mode, find_runner
from .patched import Method, patched
from .stages import Relay

OnStep = Callable[[int, int], None]
OnLatents = Callable[[torch.Tensor], None]
OnPreview = Callable[[Image.Image], None]


@dataclass(frozen=True)
class Generation:
    """What `generate` made.

    Attributes:
        images: the pictures, in the order of `seeds`.
        seeds: picture k was made with seeds[k] and can be made again with it alone.
        plan: what was done to the U-Net, None for direct inference; of a relay, at the last size.
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
    mode: Mode = "auto",
    plan: Plan | None = None,
    relay: Relay | None = None,
    native_size: int | Size | None = None,
    extra: Mapping[str, Any] | None = None,
    sequential: bool = False,
    windows: float | None = None,
    on_step: OnStep | None = None,
    on_latents: OnLatents | None = None,
    on_preview: OnPreview | None = None,
    on_decode: OnProgress | None = None,
) -> Generation:
    """Generate `count` pictures, one after another, each from a seed of its own.

    A picture that is large for the device is decoded in strips (`redilate.decode`), equal within rounding.

    Args:
        pipe: a diffusers text-to-image pipeline with a U-Net. It is left as it was, also after an exception; one
            that `redilate.apply` has been called on is used as it stands.
        width, height: in pixels, multiples of the latent scale (8); None: the native size.
        seed: of the first picture; picture k has seed + k.
        steps: denoising steps, at least 1; of a relay, at the native size (each stage takes a share of as many).
        guidance: classifier-free guidance weight; 1 or less: none.
        negative: what the picture should not show.
        method: "redilate", or "direct" for the network as trained at every size.
        mode: "single" draws at full size from the first step; "relay" draws at native size, and enlarges the picture
            in stages that denoise on. At the native area and below they are the same. "auto" is a relay where that
            is ahead (`find_runner`), and a single stage where a plan is given or a relay cannot be done.
        plan: for "redilate"; None: what `plan_for` says. In a relay, for every large stage.
        relay: the settings of a relay; None: the defaults.
        native_size: as for `apply`.
        extra: further arguments of the pipeline's own call: a ControlNet's `image`, `ip_adapter_image`, …
        sequential: evaluate guidance one sample at a time, in half the U-Net's activations. Without it, that is done
            where the device does not hold the batch (and told in `Generation.settings`), unless the network does not
            allow it: perturbed-attention guidance, a U-Net compiled in place.
        windows: for "redilate": the noise level in [0, 1] below which self-attention looks through windows, as
            `plan_for` lays them, for speed; None: as the plan says. In a relay, in every large stage.
        on_step: called after each denoising step with (steps done, steps in all), over all pictures.
        on_latents: called after `on_step` with the latents of that step, (1, channels, height / 8, width / 8); of a
            relay, of the native picture's steps.
        on_decode: called with (work done, in all) while a picture is decoded in strips; of a relay, at each stage that
            ends in one. Counting the work takes a little of the decode's time.
        on_preview: called with each picture of a relay at native size, before its first large step.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    scale = latent_scale(pipe)
    native = native_size_of(pipe, native_size)
    width = native[1] if width is None else width
    height = native[0] if height is None else height
    check_size(width, height, scale)
    _check(prompt, steps, count, method, mode, plan, relay)
    if method == "direct" and windows is not None:
        raise RedilateError("windows were asked for, and direct inference has none; leave one of them out")
    seeds = [seed + index for index in range(count)]
    runner = find_runner(
        pipe,
        mode,
        (height, width),
        steps=steps,
        guidance=guidance,
        method=method,
        plan=plan,
        relay=relay,
        native_size=native_size,
        extra=extra,
        sequential=sequential,
        windows=windows,
    )
    first = runner.start if runner else (height, width)
    # A plan and windows are for the large stages of a relay, not for its first one.
    first_plan, first_windows = (None, None) if runner else (plan, windows)
    sequential = fit(
        pipe,
        first,
        runner,
        guidance=guidance,
        method=method,
        plan=first_plan,
        native_size=native_size,
        windows=first_windows,
        sequential=sequential,
    )
    as_relay = runner is not None or mode == "relay"
    total = steps + (runner.steps if runner else 0)
    started = time.monotonic()
    images = []
    used: Plan | None = None
    for index, one in enumerate(seeds):
        report = _reporter(on_step, index * total, count * total)
        with (
            patched(pipe, method, first_plan, first[1], first[0], native_size, first_windows) as followed,
            sparing(pipe, first[1], first[0], sequential=sequential, on_decode=on_decode),
        ):
            result = pipe(
                prompt=prompt,
                negative_prompt=negative,
                width=first[1],
                height=first[0],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(one),
                **step_callback(pipe, report, on_latents),
                **(extra or {}),
            )
        image = result.images[0]
        if as_relay and on_preview is not None:
            on_preview(image)
        if runner:
            further = _reporter(on_step, index * total + steps, count * total)
            image = runner.run(
                image, prompt=prompt, negative=negative, seed=one, on_step=further, on_decode=on_decode
            )
        used = runner.plan if runner else followed
        images.append(image)
    settings = settings_of(
        pipe,
        used,
        extra,
        prompt=prompt,
        negative=negative,
        width=width,
        height=height,
        seed=seed,
        steps=steps,
        guidance=guidance,
        method=method,
        mode="relay" if as_relay else "single",
        **({"relay": runner.as_json()} if runner else {}),
        **({"sequential": True} if sequential else {}),
    )
    return Generation(images, seeds, used, time.monotonic() - started, settings)


def settings_of(
    pipe: Any, plan: Plan | None, extra: Mapping[str, Any] | None = None, **asked: Any
) -> dict[str, Any]:
    """What was asked for, with all that it depends on too: a `Generation.settings`.

    Args:
        plan: the one that was used.
        extra: further arguments of the pipeline's own call; only their names can be told.
    """
    return {
        **asked,
        "plan": None if plan is None else plan.model_dump(mode="json"),
        **({"extra": sorted(extra)} if extra else {}),
        "scheduler": type(pipe.scheduler).__name__,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a picture depends on."""
    import diffusers

    from .. import __version__

    return {"redilate": __version__, "diffusers": diffusers.__version__, "torch": torch.__version__}


def _check(
    prompt: str, steps: int, count: int, method: str, mode: str, plan: Plan | None, relay: Relay | None
) -> None:
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
    if mode not in get_args(Mode):
        raise RedilateError(f"unknown mode {mode!r}; known: {', '.join(get_args(Mode))}")
    if method == "direct" and plan is not None:
        raise RedilateError("a plan was given, and direct inference uses none; leave one of them out")
    if mode == "single" and relay is not None:
        raise RedilateError(
            'the settings of a relay were given, and the mode is "single"; mode="relay" uses them'
        )


def _reporter(on_step: OnStep | None, before: int, total: int) -> Callable[[int], None] | None:
    """(steps of this part done) → `on_step` over all parts."""
    return None if on_step is None else lambda done: on_step(before + done, total)


def step_callback(
    pipe: Any, report: Callable[[int], None] | None, on_latents: OnLatents | None
) -> dict[str, Any]:
    """Keyword arguments that make the pipeline report each step, where it can."""
    if report is None and on_latents is None:
        return {}
    if "callback_on_step_end" not in inspect.signature(pipe.__call__).parameters:
        return {}

    def step_end(_pipe: Any, index: int, _timestep: Any, arguments: dict) -> dict:
        if report is not None:
            report(index + 1)
        if on_latents is not None:
            on_latents(arguments["latents"])
        return arguments

    return {"callback_on_step_end": step_end}
