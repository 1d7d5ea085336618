"""The legs of a drawing: what each one's size, noise level and place decide, and the large ones' pipeline."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

from ..core.devices import has_own_memory
from ..core.patch import find_patch
from ..core.tie import Tie
from ..errors import RedilateError
from ..pipelines.apply import check_names
from ..pipelines.calls import noise_level_of
from ..pipelines.families import Size, latent_scale, unet_of
from ..pipelines.image_to_image import image_to_image, inpainting
from ..pipelines.kinds import check_from_picture
from ..pipelines.leg_schedule import leg_schedule, leg_scheduler
from ..pipelines.out_of_memory import execution_device
from ..pipelines.plans import Plans
from ..pipelines.prompts import check_clip_skip
from ..pipelines.schedulers import use_scheduler
from ..plans.defaults import DEFAULTS, TIE, Family, leg_steps, row_of, strengths
from ..plans.plan import Plan
from .arguments import SCHEDULES, check_callback
from .drawing import Leg
from .request import Request
from .super_resolution import check_network
from .upscalers import is_network

# Enough to fill a GPU at a native size; what does not fit is halved. Not measured.
BATCH_ON_GPU = 8


class Legs:
    """Lays out the legs of one request.

    Args:
        pipe, request: as for `resolve`.
        family: whose row of the table of defaults holds.
        native: (height, width) in pixels.
        guidance: classifier-free guidance weight of the first leg; 1: none.

    Raises:
        RedilateError: for a plan that names what the U-Net does not have.
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
        """The pipeline of the large legs, one for all of them."""
        other = second_pass(self._pipe, self._request)
        _check_second(other, self._request)
        return other

    def laid_out(self, sizes: list[Size], strength: float) -> list[Leg]:
        """The legs at `sizes` (height, width), the last one the full size; the first large one starts at `strength`.

        Raises:
            RedilateError: the pipeline of the large legs cannot do what was asked.
        """
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
        """How many pictures of a prompt share a call at most."""
        request = self._request
        large = any(leg.schedule is not None for leg in legs)
        pipes = (
            [self._second] if request.image is not None else [self._pipe, *([self._second] if large else [])]
        )
        if not all("num_images_per_prompt" in inspect.signature(pipe.__call__).parameters for pipe in pipes):
            return 1
        # A pipeline encodes the one picture of a mask with the first generator; tensors, pictures and callbacks in
        # `extra` may be of one picture; one sample at a time is no faster for several pictures.
        plain = all(
            isinstance(one, bool | int | float | str | tuple | dict) for one in request.extra.values()
        )
        if request.mask is not None or request.hires.control is not None or not plain or request.sequential:
            return 1
        if request.batch is not None:
            return request.batch
        # A CPU is busy with one picture: several take no less time each, and more memory. Metal has the host's memory.
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
            check_network(enlarge)  # refused now where it is not there
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
        """A leg's share of the steps asked for, in proportion to the noise level that it starts at."""
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
    """How many convolutions have a dilation at `level`."""
    if plan is None:
        return 0
    return sum(factor != (1.0, 1.0) for factor in plan.dilations(level).values())


def _check_second(pipe: Any, request: Request) -> None:
    """Refuse a network that takes no picture, and extra arguments that the large legs' pipeline does not take."""
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
    """diffusers' own image-to-image or inpainting pipeline around the networks of the second pass.

    Args:
        pipe: the pipeline of the request; `Hires.pipe` takes its place where there is one.

    Raises:
        RedilateError: diffusers has no such pipeline, or the scheduler of `Hires` is unknown.
    """
    source = request.hires.pipe or pipe
    other = inpainting(source) if request.mask is not None else image_to_image(source)
    if request.hires.scheduler is not None:
        use_scheduler(other, request.hires.scheduler)
    other.scheduler = leg_scheduler(other.scheduler)
    return other
