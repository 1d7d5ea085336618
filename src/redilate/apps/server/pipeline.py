"""Drawing a service's requests: files with their settings inside."""

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
        notes: what of the uploaded picture is not used.
        partials: how many previews are wanted.
        output: the file format.
        quality: Pillow's `quality` of a JPEG or WebP; None: Pillow's default.
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
        """The picture as a file of the requested format."""
        return picture_bytes(image.convert("RGB"), self.output.upper(), settings, self.quality)


@dataclass(frozen=True)
class Partial:
    """A preview's file, and its number from 0."""

    data: bytes
    index: int


@dataclass(frozen=True)
class Picture:
    """A finished picture's file, seed, number of legs and notes."""

    data: bytes
    seed: int
    legs: int
    notes: tuple[str, ...]


class ServedPipeline:
    """Draws with one pipeline, which nothing else may use meanwhile.

    Attributes:
        name: the model's, as /v1/models lists it.
        native: (height, width) in pixels.
        scale: sides must be multiples of it, in pixels.
    """

    def __init__(self, pipe: Any, model: str | None):
        self._pipe = pipe
        self._made_by = provenance(pipe, model)
        self.name = self._made_by["model"]
        self.native, self.scale = native_size(pipe), latent_scale(pipe)

    def check(self, request: ServiceRequest) -> None:
        """RedilateError for a request that could not be drawn, before it waits."""
        check_prompts(request.output.upper(), str(request.prompt), request.negative)
        resolve(self._pipe, request)

    def draw(self, job: Job) -> None:
        """Draw a job's `ServiceRequest`; its events are `Partial` and `Picture`."""
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
    """Callbacks that send previews, evenly over the steps, and stop a cancelled drawing."""
    request: ServiceRequest = job.request
    done = total = sent = 0
    # The last preview is the picture at native size, which is the best one.
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
