"""The relay: a picture at native size, enlarged stage by stage, each denoised on by the re-dilated network.

Structure is settled where the network knows it best, detail is drawn at full size, and most steps are cheap ones
(SDEdit, arXiv 2108.01073, in a cascade, as DemoFusion, FreeScale and FreCaS have it). Every stage is one call of
diffusers' own image-to-image pipeline.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import RedilateError
from ..pipelines.families import Size, latent_scale, unet_of
from ..pipelines.image_to_image import image_to_image
from ..pipelines.native import native_size as native_size_of
from ..pipelines.noise import noise_level_of
from ..pipelines.sparing import choose_sequential, sparing
from ..pipelines.starts import Start, find_start, level_at_size
from ..plans.plan import Plan
from ..plans.structure import convolutions, count_levels
from .between_steps import hold_to
from .enlarging import enlarged_latents
from .patched import Method, check_patched, patched, plan_used, planned
from .pixels import keep_colour
from .sizes import stage_sizes
from .stages import Relay, Stage
from .super_resolution import shipped_model

# An odd number, so that every stage of every seed draws noise of its own.
_SEED_STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Leg:
    """One large stage of one relay: its settings, and what follows from them for a pipeline and a size.

    Attributes:
        size: (height, width) in pixels.
        enlarged: how many times both sides have grown at least, in whole numbers; for the encoder
            (`pipelines.sparing`).
        stage: its settings.
        start: where in the noise schedule it starts.
        guidance: classifier-free guidance weight.
    """

    size: Size
    enlarged: int
    stage: Stage
    start: Start
    guidance: float

    def as_json(self) -> dict[str, Any]:
        """For `Generation.settings`: what the settings came to."""
        return {
            "width": self.size[1],
            "height": self.size[0],
            "steps": len(self.start.timesteps),
            "noise": round(self.start.level, 4),
            "guidance": self.guidance,
        }


def unit_of(pipe: Any) -> int:
    """What sides should be multiples of, in pixels, so that every level of the U-Net has whole maps."""
    return latent_scale(pipe) * 2 ** (count_levels(convolutions(unet_of(pipe))) - 1)


class Runner:
    """The large stages of a relay, laid out before any work; `run` may be called for many pictures.

    Attributes:
        start: (height, width) in pixels of the picture that it begins with.
        legs: the stages.
        plan: of the last stage, once it has run.
        sequential: whether guidance is evaluated one sample at a time; see `choose_sequential`.

    Args:
        pipe: the text-to-image pipeline, left as it is.
        relay: the settings.
        start, target: (height, width) in pixels of the picture that there is and of the one asked for.
        steps, guidance, method, plan, native_size, windows: as for `generate`; a `plan` and `windows` go before the
            stages' own.
        extra: further arguments of the pipeline's own call.
        sequential: evaluate guidance one sample at a time.

    Raises:
        RedilateError: for what cannot be done; `choose_sequential` refuses what is too large for the device.
    """

    def __init__(
        self,
        pipe: Any,
        relay: Relay,
        start: Size,
        target: Size,
        *,
        steps: int,
        guidance: float,
        method: Method = "redilate",
        plan: Plan | None = None,
        native_size: int | Size | None = None,
        extra: Mapping[str, Any] | None = None,
        sequential: bool = False,
        windows: float | None = None,
    ):
        self._pipe = image_to_image(pipe)
        # As its stages' own, so that what is recorded of the relay has it.
        relay = relay if plan is None else relay.with_plan(plan)
        self._relay = relay = relay if windows is None else relay.with_windows(windows)
        self._method: Method = method
        self._native_size = native_size
        self._extra = _for_image_to_image(self._pipe, extra or {})
        self.start = start
        self.legs: list[Leg] = []
        before = start
        native = native_size_of(pipe, native_size)
        sizes = stage_sizes(start, target, native, relay.largest_scale, unit_of(pipe))
        for index, size in enumerate(sizes):
            check_patched(pipe, *self._network(relay.stage(index), size))
            self.legs.append(self._leg(relay.stage(index), before, size, steps, guidance))
            before = size
        self.plan: Plan | None = plan
        self.sequential = sequential

    def choose_sequential(self) -> bool:
        """Evaluate guidance one sample at a time, at every stage, if the device does not hold one otherwise.

        Returns:
            `sequential`, as it is from here on.

        Raises:
            RedilateError: for a stage that the device cannot hold.
        """
        for leg in reversed(self.legs):  # the size that was asked for first: a refusal should name that
            height, width = leg.size
            self.sequential = choose_sequential(
                self._pipe,
                width,
                height,
                plan_at=lambda wide, high, leg=leg: self.plan_of(leg, (high, wide)),
                guided=leg.guidance > 1,
                asked=self.sequential,
                noise=leg.start.level,
            )
        return self.sequential

    def plan_of(self, leg: Leg, size: Size | None = None) -> Plan | None:
        """What a stage's network is re-dilated by, at its own or another `size` (height, width); None: as trained."""
        height, width = size or leg.size
        method, plan = self._network(leg.stage, (height, width))
        return plan_used(self._pipe, method, plan, width, height, self._native_size)

    def _leg(self, stage: Stage, before: Size, size: Size, steps: int, guidance: float) -> Leg:
        scheduler = self._pipe.scheduler
        scale = math.sqrt(math.prod(size) / math.prod(before))
        level = level_at_size(scheduler, stage.noise, scale)
        device = self._pipe._execution_device
        start = find_start(scheduler, stage.steps(steps), level, noise_level_of(self._pipe), device)
        enlarged = max(1, min(after // side for after, side in zip(size, before, strict=True)))
        if stage.super_resolved:
            shipped_model(stage.enlarge)  # refused now where it is not installed
        return Leg(size, enlarged, stage, start, guidance if stage.guidance is None else stage.guidance)

    @property
    def steps(self) -> int:
        """Denoising steps of all large stages together."""
        return sum(len(leg.start.timesteps) for leg in self.legs)

    def as_json(self) -> dict[str, Any]:
        """For `Generation.settings`: the settings of the relay, and what they came to."""
        return self._relay.model_dump(mode="json") | {"sizes": [leg.as_json() for leg in self.legs]}

    def run(
        self,
        image: Image.Image,
        *,
        prompt: str,
        negative: str | None,
        seed: int,
        on_step: Callable[[int], None] | None = None,
        on_decode: Callable[[int, int], None] | None = None,
    ) -> Image.Image:
        """Take `image`, of the size that the relay starts from, through every stage.

        Args:
            on_step: called after each step with the large stages' steps done.
            on_decode: as for `generate`.
        """
        done = 0
        picture: Image.Image | Tensor = image
        for index, leg in enumerate(self.legs):
            as_latents = index + 1 < len(self.legs) and _meet_in_latents(
                leg.stage, self.legs[index + 1].stage
            )
            progress = None if on_step is None else _after(done, on_step)
            before = picture
            size = {"width": leg.size[1], "height": leg.size[0]}
            with sparing(
                self._pipe, **size, sequential=self.sequential, enlarged=leg.enlarged, on_decode=on_decode
            ):
                latents = enlarged_latents(self._pipe, picture, leg.size, leg.stage.enlarge)
                picture = self._step(
                    latents, leg, prompt, negative, _stage_seed(seed, index), as_latents, progress
                )
            if isinstance(picture, Image.Image) and isinstance(before, Image.Image):
                picture = keep_colour(picture, before, leg.stage.colour)
            done += len(leg.start.timesteps)
        assert isinstance(picture, Image.Image)  # the last stage's
        return picture

    def _step(
        self,
        latents: Tensor,
        leg: Leg,
        prompt: str,
        negative: str | None,
        seed: int,
        as_latents: bool,
        on_step: Callable[[int], None] | None,
    ) -> Any:
        """One call of the image-to-image pipeline: a picture, or its latents."""
        height, width = leg.size
        stage, start = leg.stage, leg.start
        hold = hold_to(latents, seed, stage, start.timesteps)

        def step_end(pipe: Any, index: int, timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
            if on_step is not None:
                on_step(index + 1)
            return arguments if hold is None else hold(pipe, index, timestep, arguments)

        sizes = {"height": height, "width": width}
        takes = inspect.signature(self._pipe.__call__).parameters
        method, plan = self._network(stage, leg.size)
        with patched(self._pipe, method, plan, width, height, self._native_size) as used:
            result = self._pipe(
                prompt=prompt,
                negative_prompt=negative,
                image=latents,
                strength=start.strength,
                num_inference_steps=start.scheduled,
                guidance_scale=leg.guidance,
                generator=torch.Generator("cpu").manual_seed(seed),
                callback_on_step_end=step_end,
                output_type="latent" if as_latents else "pil",
                **{name: side for name, side in sizes.items() if name in takes},
                **self._extra,
            )
        self.plan = used
        return result.images if as_latents else result.images[0]

    def _network(self, stage: Stage, size: Size) -> tuple[Method, Plan | None]:
        """Which network a stage of `size` (height, width) denoises with."""
        if self._method == "direct" or stage.plan == "none":
            return "direct", None
        plan = stage.plan if isinstance(stage.plan, Plan) else None
        if stage.until is None and stage.windows is None:
            return "redilate", plan
        plan = planned(self._pipe, plan, size[1], size[0], self._native_size, stage.windows)
        return "redilate", plan if stage.until is None else plan.model_copy(update={"until": stage.until})


def _meet_in_latents(stage: Stage, following: Stage) -> bool:
    """Whether no picture is needed between two stages: decoding is dear."""
    return following.enlarges_latents and stage.colour == following.colour == "as-drawn"


def _after(done: int, on_step: Callable[[int], None]) -> Callable[[int], None]:
    return lambda steps: on_step(done + steps)


def _stage_seed(seed: int, index: int) -> int:
    return (seed + (index + 1) * _SEED_STEP) % 2**63


def _for_image_to_image(pipe: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The extra arguments of a text-to-image call, for the image-to-image one.

    Raises:
        RedilateError: for one that it does not take.
    """
    takes = inspect.signature(pipe.__call__).parameters
    arguments = dict(extra)
    # What a ControlNet follows is called `image` where there is no other picture.
    if "image" in arguments and "control_image" in takes:
        arguments["control_image"] = arguments.pop("image")
    for name in arguments:
        if name not in takes or name == "image":
            raise RedilateError(f"{type(pipe).__name__} takes no argument {name!r}; leave it out of extra")
    return arguments
