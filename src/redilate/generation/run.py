"""`run` makes the pictures of a drawing: each leg is one call of the pipeline, from the enlarged picture before it."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ..core.patch import copy_containers, find_patch
from ..core.schedule import shrink_noise, tie_weight, with_low_frequencies_of
from ..decoding.decode import OnProgress
from ..errors import RedilateError
from ..pipelines.apply import apply
from ..pipelines.families import Size, latent_scale, unet_of
from ..pipelines.out_of_memory import MemoryFallbacks, autoencoder_with_fallbacks, execution_device, offload
from ..pipelines.support import blacked_out, check_controlnets, encode
from ..plans.defaults import leg_seed
from ..plans.plan import Plan
from .arguments import Prompts, further_arguments, large_arguments, noise_of
from .drawing import Drawing, Leg, is_network, settings_of
from .pixels import keep_colour, to_image, to_tensor
from .resolve import second_pass
from .super_resolution import enlarged_by


def enlarged_latents(pipe: Any, picture: Image.Image | Tensor, size: Size, how: str) -> Tensor:
    """The latents, (1, channels, height / 8, width / 8), of `picture` enlarged to `size` (height, width) in pixels.

    Args:
        picture: a picture; its latents, too, if `how` enlarges latents.
    """
    height, width = size
    if how.startswith("latent-"):
        latents = picture if isinstance(picture, Tensor) else encode(pipe, picture)
        scale = latent_scale(pipe)
        mode = how.removeprefix("latent-")
        large = interpolate(latents.float(), size=(height // scale, width // scale), mode=mode)
        return large.to(latents.dtype)
    assert isinstance(picture, Image.Image)
    if how == "lanczos":
        return encode(pipe, picture.resize((width, height), Image.Resampling.LANCZOS))
    if is_network(how):
        return encode(pipe, enlarged_by(how, picture, size, execution_device(pipe)))
    return encode(pipe, to_image(interpolate(to_tensor(picture), size=size, mode="bicubic", antialias=True)))


OnStepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def hold_to(before: Tensor, seeds: Sequence[int], leg: Leg) -> OnStepEnd | None:
    """A `callback_on_step_end` that keeps the latents near `before`; None for a leg without tie and noise floor.

    After every step it mixes in the low frequencies of `before` at the same noise level: DemoFusion's skip residual
    (arXiv 2311.16973, equation 5) limited to low frequencies, as in FouriScale and FreeScale. The noise is the leg's
    own starting noise, so a deterministic sampler gets no new noise. After the last step the noise floor shrinks the
    leg's changes (`core.schedule`).

    Args:
        before: the latents of the enlarged pictures, (pictures, channels, height, width).
        seeds: of each picture's noise in this leg.
        leg: its tie and noise floor are used.
    """
    tie = leg.tie
    if leg.schedule is None or ((tie is None or tie.weight == 0) and leg.noise_floor == 0):
        return None
    timesteps = leg.schedule.timesteps
    noise: Tensor | None = None

    def callback(pipe: Any, index: int, _timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal noise
        latents: Tensor = arguments["latents"]
        clean = before.to(latents)
        done = index + 1
        weight = 0.0 if tie is None or done >= len(timesteps) else tie_weight(tie, done, len(timesteps))
        if tie is not None and weight > 0:
            if noise is None:
                noise = _noise(before, seeds).to(latents)
            # `add_noise` gives the noise level of the next step, as diffusers' inpainting relies on too.
            following = torch.tensor([timesteps[done]], device=latents.device)
            wanted = pipe.scheduler.add_noise(clean, noise, following.to(pipe.scheduler.timesteps.dtype))
            latents = with_low_frequencies_of(latents, wanted, tie.period, weight)
        if done == len(timesteps) and leg.noise_floor > 0:
            latents = clean + shrink_noise(latents - clean, leg.noise_floor)
        return arguments | {"latents": latents}

    return callback


def _noise(like: Tensor, seeds: Sequence[int]) -> Tensor:
    from diffusers.utils.torch_utils import randn_tensor

    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    return randn_tensor(like.shape, generator=generators, device=like.device, dtype=like.dtype)


OnDrawing = Callable[[Drawing], None]
OnStep = Callable[[int, int], None]
OnLatents = Callable[[Tensor], None]
OnPreview = Callable[[Image.Image], None]
OnPicture = Callable[[Image.Image, dict[str, Any]], None]


class SafetyStopped(RedilateError):
    """The pipeline's own safety checker took a picture back."""

    def __init__(
        self,
        said: str = "the pipeline's safety checker took the picture back, and it is black; another seed or prompt "
        "works, or the pipeline without the checker",
    ):
        super().__init__(said)


@dataclass(frozen=True)
class Generation:
    """The result of a drawing.

    Attributes:
        images: the pictures, in the order of `seeds`.
        seeds: picture k was made with seeds[k], which alone makes it again.
        drawing: how they were made; None for a method other than `generate`'s own.
        seconds: wall time of all pictures together.
        settings: what makes the first picture again, as plain data.
        notes: what the user should know: the drawing's notes and those made while drawing, a line each.
    """

    images: list[Image.Image]
    seeds: list[int]
    drawing: Drawing | None
    seconds: float
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan | None:
        """The last leg's plan; None if its network ran as trained."""
        return None if self.drawing is None else self.drawing.plan


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of `run`, each as for `generate`; without `on_note` notes become warnings."""

    on_drawing: OnDrawing | None = None
    on_step: OnStep | None = None
    on_latents: OnLatents | None = None
    on_preview: OnPreview | None = None
    on_decode: OnProgress | None = None
    on_note: Callable[[str], None] | None = None
    on_picture: OnPicture | None = None


def run(pipe: Any, drawing: Drawing, callbacks: Callbacks | None = None) -> Generation:
    """Make the pictures of a drawing: up to `Drawing.batch` of a prompt together, each within rounding as if drawn
    alone.

    If the device runs out of memory, the failed part (a decode, or a leg's denoising) is repeated in a way that needs
    less, with a note through `Callbacks.on_note`.

    Args:
        pipe: the pipeline of `resolve`; it is left as it was, also after an exception, except for model offload if
            nothing else fits.

    Raises:
        RedilateError: the device has too little memory for every fallback.
        SafetyStopped: the safety checker blacked out a picture. Those before it are finished first, and handed to
            `Callbacks.on_picture`.
    """
    runner = _Runner(pipe, drawing, callbacks or Callbacks())
    runner.check_controlnets()
    if runner.callbacks.on_drawing is not None:
        runner.callbacks.on_drawing(drawing)
    started = time.monotonic()
    images = [image for group in _groups(drawing) for image in runner.pictures(group)]
    seconds = time.monotonic() - started
    settings = settings_of(pipe, drawing, sequential=runner.fallbacks.sequential)
    return Generation(images, list(drawing.seeds), drawing, seconds, settings, tuple(runner.notes))


@dataclass
class _Runner:
    """A drawing in progress."""

    pipe: Any
    drawing: Drawing
    callbacks: Callbacks
    notes: dict[str, None] = field(init=False)  # in order, each once
    fallbacks: MemoryFallbacks = field(init=False)
    _second: Any = field(init=False, default=None)
    _prompts: Prompts = field(init=False)
    _done: int = field(init=False, default=0)  # denoising steps, over all pictures
    _stopped: bool = field(init=False, default=False)  # by the safety checker

    def __post_init__(self) -> None:
        request = self.drawing.request
        self.notes = dict.fromkeys(self.drawing.notes)
        self.fallbacks = MemoryFallbacks(request.sequential, self._note)
        self._prompts = Prompts(self.drawing, self._note)
        if any(leg.schedule is not None for leg in self.drawing.legs):
            self._second = second_pass(self.pipe, request)

    def check_controlnets(self) -> None:
        """Refuse, before any work, a ControlNet that does not fit or has no picture to follow."""
        request = self.drawing.request
        given = {name for name, value in request.extra.items() if value is not None}
        if request.image is None:
            check_controlnets(self.pipe, "image" in given)
        if self._second is not None:
            check_controlnets(
                self._second, request.hires.control is not None or bool(given & {"image", "control_image"})
            )

    def pictures(self, group: list[int]) -> list[Image.Image]:
        """The pictures of `group`, which share a prompt, through every leg."""
        drawing, callbacks = self.drawing, self.callbacks
        pictures: list[Any] = [drawing.request.image for _ in group]
        for number, leg in enumerate(drawing.legs):
            before = pictures
            if leg.schedule is None:
                pictures = self._first(leg, group)
            else:
                pictures = self._large(pictures, leg, group, number)
            pictures = [_coloured(*both, leg) for both in zip(pictures, before, strict=False)]
            group = group[: len(pictures)]
            if not pictures:
                break
        if callbacks.on_picture is not None:
            for index, picture in zip(group, pictures, strict=True):
                settings = settings_of(self.pipe, drawing, sequential=self.fallbacks.sequential, index=index)
                callbacks.on_picture(picture, settings)
        if self._stopped:
            raise SafetyStopped
        return pictures

    def _first(self, leg: Leg, group: list[int]) -> list[Image.Image]:
        """Text to image."""
        drawing, request = self.drawing, self.drawing.request
        arguments = further_arguments(drawing, group[0])
        with self._within(self.pipe, leg):

            def call(part: Sequence[int]) -> list[Image.Image]:
                result = self.pipe(
                    **self._prompts.of(self.pipe, drawing.prompts[group[0]], request.negative, arguments),
                    width=leg.width,
                    height=leg.height,
                    num_inference_steps=leg.steps,
                    guidance_scale=leg.guidance,
                    **noise_of([drawing.seeds[index] for index in part]),
                    **self._callback(self.pipe, leg, len(part)),
                    **copy_containers(arguments),
                )
                return self._taken(result, leg, len(part))

            images = self.fallbacks.denoise(self.pipe, (leg.height, leg.width), leg.guidance > 1, group, call)
        if len(drawing.legs) > 1 and self.callbacks.on_preview is not None:
            for image in images:
                self.callbacks.on_preview(image)
        return images

    def _large(
        self, pictures: list[Image.Image | Tensor], leg: Leg, group: list[int], number: int
    ) -> list[Image.Image] | list[Tensor]:
        """One call of the image-to-image pipeline, from the enlarged pictures."""
        drawing, request, hires = self.drawing, self.drawing.request, self.drawing.request.hires
        pipe = self._second
        assert leg.schedule is not None
        as_latents = number + 1 < len(drawing.legs) and _meet_in_latents(leg, drawing.legs[number + 1])
        prompt = hires.prompt if hires.prompt is not None else drawing.prompts[group[0]]
        negative = hires.negative if hires.negative is not None else request.negative
        own, size, schedule = hires.pipe is not None, (leg.height, leg.width), leg.schedule.arguments
        with self._within(pipe, leg):
            arguments = large_arguments(drawing, leg, group[0], pictures[0], pipe)
            if request.mask is not None:
                starts: list[Any] = [request.image and request.image.resize((leg.width, leg.height))]
            else:
                starts = [enlarged_latents(pipe, one, size, leg.enlarge or "lanczos") for one in pictures]

            def call(part: Sequence[tuple[int, Any]]) -> list[Any]:
                seeds = [leg_seed(drawing.seeds[index], number) for index, _ in part]
                start = part[0][1] if request.mask is not None else torch.cat([one for _, one in part])
                hold = None if request.mask is not None else hold_to(start, seeds, leg)
                result = pipe(
                    **self._prompts.of(pipe, prompt, negative, arguments, own),
                    image=start,
                    guidance_scale=leg.guidance,
                    **noise_of(seeds),
                    output_type="latent" if as_latents else "pil",
                    **schedule,
                    **self._callback(pipe, leg, len(part), hold),
                    **copy_containers(arguments),
                )
                if as_latents:
                    self._done += leg.steps * len(part)
                    return list(result.images.split(1))
                return self._taken(result, leg, len(part))

            todo = list(zip(group, starts, strict=True))
            return self.fallbacks.denoise(pipe, size, leg.guidance > 1, todo, call)

    def _taken(self, result: Any, leg: Leg, count: int) -> list[Image.Image]:
        """A pipeline's pictures, up to the first that its safety checker has blacked out."""
        self._done += leg.steps * count
        black = blacked_out(result)
        self._stopped = self._stopped or bool(black)
        return list(result.images[: black[0] if black else count])

    def _note(self, line: str) -> None:
        self.notes[line] = None
        if self.callbacks.on_note is not None:
            self.callbacks.on_note(line)
        else:
            warnings.warn(line, stacklevel=2)

    @contextmanager
    def _within(self, pipe: Any, leg: Leg) -> Iterator[None]:
        """A context in which `pipe` is re-dilated by the leg's plan and its autoencoder has fallbacks."""
        with ExitStack() as stack:
            stack.enter_context(
                autoencoder_with_fallbacks(
                    pipe,
                    note=self._note,
                    make_room=lambda: offload(pipe),
                    enlarged=leg.grown,
                    on_progress=self.callbacks.on_decode,
                )
            )
            standing = find_patch(unet_of(pipe)) is not None and not isinstance(
                self.drawing.request.plan, Plan
            )
            if leg.plan is None or leg.plan.is_neutral or standing:
                _refuse_applied(pipe, self.drawing)
            else:
                stack.enter_context(apply(pipe, leg.plan))
            yield

    def _callback(self, pipe: Any, leg: Leg, count: int, hold: Any = None) -> dict[str, Any]:
        """The pipeline's argument for a callback after each step of `count` pictures, if it takes one."""
        callbacks, own = self.callbacks, self.drawing.request.extra.get("callback_on_step_end")
        if "callback_on_step_end" not in inspect.signature(pipe.__call__).parameters:
            return {}
        if callbacks.on_step is None and callbacks.on_latents is None and own is None and hold is None:
            return {}
        before, total = self._done, self.drawing.steps * len(self.drawing.seeds)

        def step_end(pipe: Any, index: int, timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
            if callbacks.on_step is not None:
                callbacks.on_step(before + count * min(index + 1, leg.steps), total)
            if hold is not None:
                arguments = hold(pipe, index, timestep, arguments)
            if callbacks.on_latents is not None:
                for latents in arguments["latents"].split(1):
                    callbacks.on_latents(latents)
            return arguments if own is None else own(pipe, index, timestep, arguments)

        return {"callback_on_step_end": step_end}


def _meet_in_latents(leg: Leg, following: Leg) -> bool:
    """Whether the next leg enlarges latents, so that nothing is decoded in between."""
    latents = (following.enlarge or "").startswith("latent-")
    return latents and leg.colour == following.colour == "as-drawn"


def _refuse_applied(pipe: Any, drawing: Drawing) -> None:
    if drawing.request.method == "direct" and find_patch(unet_of(pipe)) is not None:
        raise RedilateError("the pipeline is re-dilated; call redilate.remove(pipe) before direct inference")


def _groups(drawing: Drawing) -> Iterator[list[int]]:
    """The pictures that share calls: neighbours with the same prompt, at most `Drawing.batch`."""
    for _, same in groupby(range(len(drawing.seeds)), key=drawing.prompts.__getitem__):
        indices = list(same)
        for start in range(0, len(indices), drawing.batch):
            yield indices[start : start + drawing.batch]


def _coloured(picture: Any, before: Any, leg: Leg) -> Any:
    if not isinstance(picture, Image.Image) or not isinstance(before, Image.Image):
        return picture
    return keep_colour(picture, before, leg.colour)
