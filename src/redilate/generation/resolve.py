"""From a request to a drawing: the only place that decides how a picture is made, and that refuses what cannot be."""

from __future__ import annotations

import math
from typing import Any, get_args

from ..core.patch import find_patch
from ..errors import RedilateError
from ..pipelines.apply import check_size
from ..pipelines.families import Size, defaults_family, latent_scale, unet_of, unit_of
from ..pipelines.image_to_image import image_to_image
from ..pipelines.kinds import check_pictures, check_text_to_image
from ..pipelines.native import native_size as native_size_of
from ..pipelines.schedulers import check_scheduler
from ..plans.defaults import DEFAULTS, LARGEST_SCALE, LARGEST_SCALE_OF_NETWORK, PRESETS, Family, row_of
from .arguments import check_extra, check_values
from .drawing import Drawing, Leg
from .legs import Legs
from .request import Method, Request, settled_seed
from .sizes import leg_sizes, native_start
from .upscalers import FACTORS, is_network


def resolve(pipe: Any, request: Request) -> Drawing:
    """Decide how the pictures of a request are made.

    Args:
        pipe: a diffusers pipeline with a U-Net; nothing is changed about it.
        request: what is asked for.

    Raises:
        RedilateError: for whatever cannot be done, with what would work.
    """
    if request.image is None:
        check_text_to_image(pipe)
    else:
        check_pictures(pipe)
    _check(request)
    check_extra(pipe, request.extra, from_picture=request.image is not None)
    scale = latent_scale(pipe)
    native = native_size_of(pipe, request.native_size)
    height, width = _target(request, native)
    check_size(width, height, scale)
    if request.image is not None and min(width, height) < 2 * scale:
        raise RedilateError(
            f"{width}x{height} is too small to start from a picture: {2 * scale} a side works"
        )
    family = defaults_family(pipe)
    guidance = DEFAULTS[family].guidance if request.guidance is None else request.guidance
    prompts = _prompts(request)
    guided = max(guidance, request.hires.guidance or 0) > 1
    check_values(pipe, request.extra, (height, width), len(prompts) // request.count, guided)
    strength, sizes, notes = _way(pipe, request, family, (height, width), native)
    seed = settled_seed(request.seed, len(prompts))
    check_scheduler(pipe.scheduler, request.steps)
    planned = Legs(pipe, request, family, native, guidance)
    legs = planned.laid_out(sizes, strength)
    if request.method == "redilate" and request.plan != "none":
        notes += _as_trained(legs)
    return Drawing(
        request=request,
        family=family,
        width=width,
        height=height,
        strength=strength,
        guidance=guidance,
        legs=tuple(legs),
        prompts=tuple(prompts),
        seeds=tuple(seed + index for index in range(len(prompts))),
        batch=planned.batch(legs),
        notes=tuple(notes),
    )


def _check(request: Request) -> None:
    """What no pipeline could do."""
    if request.steps < 1:
        raise RedilateError(f"steps is {request.steps}; at least 1 is needed")
    if not isinstance(request.negative, str | None):
        raise RedilateError(
            f"the negative prompt is a text for all pictures, or None, not {request.negative!r}"
        )
    if request.count < 1:
        raise RedilateError(f"count is {request.count}; at least 1 is needed")
    if request.batch is not None and request.batch < 1:
        raise RedilateError(f"batch is {request.batch}; at least 1 is needed")
    if request.guidance is not None and not 0 <= request.guidance < math.inf:
        raise RedilateError(f"guidance is {request.guidance:g}; a number from 0 on works")
    if request.strength is not None and not 0 < request.strength <= 1:
        raise RedilateError(f"strength is {request.strength:g}; above 0 and up to 1 works")
    if request.method not in get_args(Method):
        raise RedilateError(f"unknown method {request.method!r}; known: {', '.join(get_args(Method))}")
    if request.preset not in PRESETS:
        raise RedilateError(f"unknown preset {request.preset!r}; known: {', '.join(PRESETS)}")
    if request.method == "direct":
        for name in ("plan", "windows"):
            if getattr(request, name) is not None:
                raise RedilateError(
                    f"{name} was given, and direct inference uses none; leave one of them out"
                )
        if request.image is None and (request.strength or 1) < 1:
            raise RedilateError("direct inference draws at full size; leave strength out, or the method")


def _prompts(request: Request) -> list[str | None]:
    """One for each picture."""
    asked, hires = request.prompt, request.hires
    negative = request.negative if hires.prompt is not None or hires.negative is None else hires.negative
    if negative is not None and request.extra.get("negative_prompt_embeds") is not None:
        raise RedilateError(
            "both a negative prompt and negative_prompt_embeds were given; leave one of them out"
        )
    embeds = request.extra.get("prompt_embeds")
    if embeds is not None:
        if asked is not None:
            raise RedilateError("both a prompt and prompt_embeds were given; leave one of them out")
        found: list[str | None] = [None] * len(embeds)
    elif isinstance(asked, str):
        found = [asked]
    elif isinstance(asked, list) and asked and all(isinstance(one, str) for one in asked):
        found = list(asked)
    else:
        raise RedilateError(
            f"the prompt is a text, a list of texts, or None with prompt_embeds in extra, not {asked!r}"
        )
    return [prompt for prompt in found for _ in range(request.count)]


def _target(request: Request, native: Size) -> Size:
    if request.image is not None:
        height = request.image.height if request.height is None else request.height
        return height, request.image.width if request.width is None else request.width
    height = native[0] if request.height is None else request.height
    return height, native[1] if request.width is None else request.width


def _way(
    pipe: Any, request: Request, family: Family, target: Size, native: Size
) -> tuple[float, list[Size], list[str]]:
    """The strength, the sizes of all legs, and what is to be said of them."""
    asked = request.strength
    default = row_of(family, request.preset).strength
    if request.preset == "published" and request.image is None:
        default = 1.0
    if request.image is not None:
        if request.from_picture == "edit":
            return default if asked is None else asked, [target], []
        start = (request.image.height, request.image.width)
        return default if asked is None else asked, _large(pipe, request, start, target, native), []
    if request.method == "direct" or asked == 1 or (asked is None and default == 1):
        return 1.0, [target], []
    start = native_start(target, native, unit_of(pipe))
    if start is None:
        if asked is None:
            return 1.0, [target], []
        near = f"{target[1]}x{target[0]} is about the native area: it is drawn in one leg, and strength has no effect"
        return 1.0, [target], [near]
    if reason := _no_legs(pipe, request):
        if asked is not None:
            raise RedilateError(f"strength {asked:g} draws natively first, and {reason}; strength 1 works")
        return 1.0, [target], [f"drawn at full size from the first step: {reason}"]
    return default if asked is None else asked, [start, *_large(pipe, request, start, target, native)], []


def _no_legs(pipe: Any, request: Request) -> str | None:
    """Why a picture cannot be drawn natively first; None where it can."""
    if "latents" in request.extra:
        return "the latents in extra are of the full size"
    if find_patch(unet_of(pipe)) is not None:
        return "the pipeline is re-dilated by redilate.apply already"
    try:
        image_to_image(request.hires.pipe or pipe)
    except RedilateError as error:
        if request.hires.pipe is not None:
            raise  # asked for by name
        return str(error)
    return None


def _large(pipe: Any, request: Request, start: Size, target: Size, native: Size) -> list[Size]:
    enlarge = request.hires.enlarge
    network = enlarge is not None and is_network(enlarge) and enlarge not in FACTORS
    largest = LARGEST_SCALE_OF_NETWORK if network else LARGEST_SCALE
    return leg_sizes(start, target, native, largest, unit_of(pipe))


def _as_trained(legs: list[Leg]) -> list[str]:
    """A line for large legs that start below their plan's end, so that none of it is in force."""
    below = [
        (leg, leg.plan.until)
        for leg in legs
        if leg.schedule is not None and not leg.dilated and leg.plan is not None and not leg.plan.is_neutral
    ]
    if not below:
        return []
    ends = max(until for _, until in below)
    sizes = ", ".join(f"{leg.width}x{leg.height}" for leg, _ in below)
    return [
        f"{sizes} starts at noise level {below[0][0].start:.2g}, below {ends:.2g} where re-dilation ends: there the "
        f"network runs as trained; a strength above {ends:.2g} has it re-dilated"
    ]
