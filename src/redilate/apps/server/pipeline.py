"""The model at work: a request in, files out, with their settings inside."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from redilate.generation.drawing import Request
from redilate.generation.resolve import resolve
from redilate.generation.run import Callbacks, run
from redilate.pipelines.families import latent_scale, native_size
from redilate.pipelines.preview import preview

from ..drawing_thread import Job
from ..metadata import check_prompts, picture_bytes, provenance

log = logging.getLogger("redilate.server")


@dataclass(frozen=True)
class ServiceRequest(Request):
    """A request, and how its pictures are sent.

    Attributes:
        notes: what of the picture that was sent is not used.
        partials: how many previews are wanted.
        output: the file format.
        quality: Pillow's `quality` of a JPEG or WebP; None: Pillow's own.
    """

    notes: tuple[str, ...] = ()
    partials: int = 0
    output: Literal["png", "jpeg", "webp"] = "png"
    quality: int | None = None

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"

    def file(self, image: Image.Image, settings: dict[str, Any] | None = None) -> bytes:
        """The picture as a file of the format asked for, with its settings if it is the finished one."""
        return picture_bytes(image.convert("RGB"), self.output.upper(), settings, self.quality)


@dataclass(frozen=True)
class Partial:
    """A preview: the file, and its number from 0."""

    data: bytes
    index: int


@dataclass(frozen=True)
class Picture:
    """A finished picture: the file, its seed, in how many legs it was drawn, and lines that somebody should know."""

    data: bytes
    seed: int
    legs: int
    notes: tuple[str, ...]


class ServedPipeline:
    """Draws with one pipeline, which nobody else may use meanwhile.

    Attributes:
        name: the model's, as /v1/models lists it.
        native: (height, width) in pixels.
        scale: what sides must be multiples of, in pixels.
    """

    def __init__(self, pipe: Any, model: str | None):
        self._pipe = pipe
        self._made_by = provenance(pipe, model)
        self.name = self._made_by["model"]
        self.native, self.scale = native_size(pipe), latent_scale(pipe)

    def check(self, request: ServiceRequest) -> None:
        """Refuse, before it waits, what could not be drawn.

        Raises:
            RedilateError: a size that latents can't have, prompts that the file can't hold, steps that the
                scheduler can't take, a strength that the pipeline can't do.
        """
        check_prompts(request.output.upper(), str(request.prompt), request.negative)
        resolve(self._pipe, request)

    def draw(self, job: Job) -> None:
        """Draw a job's `ServiceRequest`; its events are each `Partial` and `Picture`."""
        request: ServiceRequest = job.request
        drawing = resolve(self._pipe, request)
        settings: list[dict[str, Any]] = []
        callbacks = _previews(self._pipe, job, len(drawing.legs))
        callbacks = replace(callbacks, on_picture=lambda _, each: settings.append(each))
        made = run(self._pipe, drawing, callbacks)
        for image, seed, each in zip(made.images, made.seeds, settings, strict=True):
            file = request.file(image, each | self._made_by)
            job.put(Picture(file, seed, len(drawing.legs), (*request.notes, *made.notes)))


def _previews(pipe: Any, job: Job, legs: int) -> Callbacks:
    """Sends the previews that are wanted, evenly over the steps, and stops a drawing that is cancelled."""
    request: ServiceRequest = job.request
    done = total = sent = 0
    # The picture at native size is the best preview: the last one is kept for it.
    of_latents = request.partials - (legs > 1)

    def on_step(steps: int, of: int) -> None:
        nonlocal done, total
        job.check()
        done, total = steps, of

    def on_latents(latents: Tensor) -> None:
        if sent < of_latents and done < total and done * (request.partials + 1) >= total * (sent + 1):
            send(preview(pipe, latents))

    def send(image: Image.Image) -> None:
        nonlocal sent
        if sent < request.partials:
            job.put(Partial(request.file(image), sent))
            sent += 1

    return Callbacks(on_step=on_step, on_latents=on_latents, on_preview=send, on_note=log.warning)
