"""`resolve`: from a request to a drawing. Only this module decides how a picture is made, or refuses it."""

from __future__ import annotations

import inspect
import math
from functools import cached_property
from typing import Any, get_args

from ..core.devices import has_own_memory
from ..core.patch import find_patch
from ..core.schedule import Tie
from ..errors import RedilateError
from ..pipelines.apply import Plans, check_names, check_size, noise_level_of
from ..pipelines.families import Size, defaults_family, latent_scale, unet_of, unit_of
from ..pipelines.families import native_size as native_size_of
from ..pipelines.out_of_memory import execution_device
from ..pipelines.prompts import check_clip_skip
from ..pipelines.schedulers import check_scheduler, leg_schedule, leg_scheduler, use_scheduler
from ..pipelines.support import (
    check_from_picture,
    check_pictures,
    check_text_to_image,
    image_to_image,
    inpainting,
)
from ..plans.defaults import (
    DEFAULTS,
    LARGEST_SCALE,
    LARGEST_SCALE_OF_NETWORK,
    PRESETS,
    TIE,
    Family,
    leg_sizes,
    leg_steps,
    native_start,
    row_of,
    strengths,
)
from ..plans.plan import Plan
from .arguments import SCHEDULES, check_callback, check_extra, check_values
from .drawing import Drawing, Leg, Method, Request, is_network, settled_seed
from .super_resolution import check_network
from .upscalers import FACTORS

# Enough to keep a GPU busy at a native size; halved if memory runs out. Not measured.
BATCH_ON_GPU = 8


class Legs:
    """Lays out the legs of one request.

    Args:
        pipe, request: as for `resolve`.
        family: whose defaults hold.
        native: (height, width) in pixels.
        guidance: classifier-free guidance weight of the first leg; 1: none.

    Raises:
        RedilateError: for a plan that names modules that the U-Net does not have.
    """

    def __init__(self, pipe: Any, request: Request, family: Family, native: Size, guidance: float):
        self._pipe, self._request = pipe, request
        self._family: Family = family
        self._guidance = guidance
        self._editing = request.from_picture == "edit" and request.image is not None
        more = request.strength is not None and request.strength > DEFAULTS[family].strength
        self._row = row_of(family, "default" if self._editing else request.preset, self._editing or more)
        self._plans = Plans(pipe, native, request.preset, family)
        if isinstance(request.plan, Plan):
            check_names(unet_of(request.hires.pipe or pipe), request.plan)

    @cached_property
    def _second(self) -> Any:
        """The pipeline of the large legs."""
        other = second_pass(self._pipe, self._request)
        _check_second(other, self._request)
        return other

    def laid_out(self, sizes: list[Size], strength: float) -> list[Leg]:
        """The legs at `sizes` (height, width), from the smallest on; the first large one starts at `strength`."""
        request = self._request
        if request.image is None:
            first, large = sizes[:1], sizes[1:]
            legs = [self._first(first[0], last=not large)]
            before = first[0]
        else:
            legs, large, before = [], sizes, (request.image.height, request.image.width)
        starts = strengths(strength, len(large), self._family) if large else []
        for index, (size, start) in enumerate(zip(large, starts, strict=True)):
            legs.append(self._large(before, size, start, last=index + 1 == len(large)))
            before = size
        return legs

    def batch(self, legs: list[Leg]) -> int:
        """How many pictures of a prompt may share a call."""
        request = self._request
        large = any(leg.schedule is not None for leg in legs)
        pipes = (
            [self._second] if request.image is not None else [self._pipe, *([self._second] if large else [])]
        )
        if not all("num_images_per_prompt" in inspect.signature(pipe.__call__).parameters for pipe in pipes):
            return 1
        # Inpainting encodes its picture with the first generator alone; tensors, pictures and callbacks in `extra`
        # may be for one picture; sequential guidance is no faster for several.
        plain = all(
            isinstance(one, bool | int | float | str | tuple | dict) for one in request.extra.values()
        )
        if request.mask is not None or request.hires.control is not None or not plain or request.sequential:
            return 1
        if request.batch is not None:
            return request.batch
        # One picture keeps a CPU busy: several take as long each, and more memory. Metal shares the host's memory.
        return BATCH_ON_GPU if has_own_memory(execution_device(self._pipe)) else 1

    def _first(self, size: Size, last: bool) -> Leg:
        plan = self._plan(size, 1.0, last)
        steps, guidance = self._request.steps, self._guidance
        return Leg(size[1], size[0], 1.0, steps, guidance, plan, _in_force(plan, 1.0))

    def _large(self, before: Size, size: Size, start: float, last: bool) -> Leg:
        request, hires = self._request, self._request.hires
        other, steps = self._second, self._steps(start)
        schedule = leg_schedule(
            other, other.scheduler, steps, start, noise_level_of(other), explicit=request.mask is None
        )
        plan = self._plan(size, start, last)
        guidance = hires.guidance
        if guidance is None:
            guidance = self._guidance if self._row.guided else 1.0
        enlarge = hires.enlarge or "lanczos"
        if is_network(enlarge):
            check_network(enlarge)
        weight = (0.0 if self._editing else TIE.weight) if hires.tie is None else hires.tie
        until = self._row.tie_until if hires.tie_until is None else hires.tie_until
        grown = max(1, min(after // side for after, side in zip(size, before, strict=True)))
        floor = self._row.noise_floor if hires.noise_floor is None else hires.noise_floor
        return Leg(
            width=size[1],
            height=size[0],
            start=schedule.level,
            steps=steps,
            guidance=guidance,
            plan=plan,
            dilated=_in_force(plan, schedule.level),
            enlarge=enlarge,
            grown=grown,
            tie=Tie(weight, until, TIE.period) if weight else None,
            noise_floor=floor,
            colour=hires.colour,
            schedule=schedule,
        )

    def _steps(self, start: float) -> int:
        if self._request.hires.steps is not None:
            return self._request.hires.steps
        return leg_steps(self._request.steps, start, self._row)

    def _plan(self, size: Size, start: float, last: bool) -> Plan | None:
        request = self._request
        if request.method == "direct" or request.plan == "none":
            return None
        if existing := find_patch(unet_of(self._pipe)):
            scale = latent_scale(self._pipe)
            return existing.plan_at((size[0] // scale, size[1] // scale))  # type: ignore[return-value]
        if last and isinstance(request.plan, Plan):
            plan = request.plan
        else:
            plan = self._plans.for_pixels(size, whole=start >= 1)
        if request.windows is not None:
            plan = self._plans.with_windows(plan, size, request.windows)
        return plan


def _in_force(plan: Plan | None, level: float) -> int:
    """How many convolutions are dilated at the noise level `level`."""
    if plan is None:
        return 0
    return sum(dilation != (1.0, 1.0) for dilation in plan.dilations(level).values())


def _check_second(pipe: Any, request: Request) -> None:
    """Refuse a network that takes no picture, and `extra` arguments that the large legs' pipeline does not take."""
    if request.mask is None:
        check_from_picture(pipe)
    check_callback(pipe, request.extra)
    check_clip_skip(pipe, request.extra.get("clip_skip"))
    takes = inspect.signature(type(pipe).__call__).parameters
    for name in request.extra:
        if name in SCHEDULES and request.mask is None:
            raise RedilateError(
                f"extra has {name!r}, and a leg that starts from a picture has a schedule of its own; leave it out of "
                "extra, or ask generate for strength 1"
            )
        if name not in takes and not (name == "image" and "control_image" in takes):
            raise RedilateError(
                f"{type(pipe).__name__}, which draws the large legs, takes no argument {name!r}; leave it out of "
                "extra, or ask for strength 1"
            )
    if request.hires.control is not None and "control_image" not in takes:
        raise RedilateError(
            "control needs a pipeline with a ControlNet, such as StableDiffusionXLControlNetImg2ImgPipeline with a "
            "tile ControlNet as Hires.pipe"
        )


def second_pass(pipe: Any, request: Request) -> Any:
    """diffusers' image-to-image or inpainting pipeline around the networks of `Hires.pipe`, or else of `pipe`.

    Raises:
        RedilateError: diffusers has no such pipeline, or the scheduler of `Hires` is unknown.
    """
    source = request.hires.pipe or pipe
    other = inpainting(source) if request.mask is not None else image_to_image(source)
    if request.hires.scheduler is not None:
        use_scheduler(other, request.hires.scheduler)
    other.scheduler = leg_scheduler(other.scheduler)
    return other


def resolve(pipe: Any, request: Request) -> Drawing:
    """Decide how the pictures of a request are made.

    Args:
        pipe: a diffusers pipeline with a U-Net; it is not changed.
        request: what is asked for.

    Raises:
        RedilateError: for anything that cannot be done.
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
    """Refuse what no pipeline can do."""
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
    """The prompt of each picture."""
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
    """The strength, the sizes of all legs, and notes about them."""
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
    """Why a picture cannot be drawn natively first; None if it can."""
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
    """A note if large legs start below the end of their plan, so that they run as trained."""
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
