"""Drawing a service's requests: files with their settings inside."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

from PIL.Image import Image
from torch import Tensor

from redilate.generation.drawing import Request
from redilate.generation.resolve import resolve
from redilate.generation.run import Callbacks, run
from redilate.pipelines.preview import preview

from ..drawing_thread import Job
from ..metadata import picture_bytes

log = logging.getLogger("redilate.server")


@dataclass(frozen=True)
class ServiceRequest(Request):
    """A request, and how its pictures are sent; `notes` say what of the uploaded picture is not used."""

    notes: tuple[str, ...] = ()
    partials: int = 0  # previews that are wanted
    output: Literal["png", "jpeg", "webp"] = "png"
    quality: int | None = None  # of a JPEG or WebP; None: Pillow's default

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"

    def file(self, image: Image, settings: dict[str, Any] | None = None) -> bytes:
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


def draw(pipe: Any, made_by: dict[str, Any], job: Job) -> None:
    """Draw a job's `ServiceRequest` with a pipeline of provenance `made_by`.

    Its events are `Partial`, evenly over the steps, and `Picture`.
    """
    request: ServiceRequest = job.request
    drawing = resolve(pipe, request)
    legs = len(drawing.legs)
    settings: list[dict[str, Any]] = []
    done = total = sent = 0

    def on_step(steps: int, of: int) -> None:
        nonlocal done, total
        job.check()
        done, total = steps, of

    def on_latents(latents: Tensor) -> None:
        # With large legs the last preview is the picture at native size, which is the best one.
        due = done * (request.partials + 1) >= total * (sent + 1)
        if sent < request.partials - (legs > 1) and done < total and due:
            send(preview(pipe, latents))

    def send(image: Image) -> None:
        nonlocal sent
        if sent < request.partials:
            job.put(Partial(request.file(image), sent))
            sent += 1

    callbacks = Callbacks(
        on_step=on_step,
        on_latents=on_latents,
        on_preview=send,
        on_note=log.warning,
        on_picture=lambda _, each: settings.append(each),
    )
    made = run(pipe, drawing, callbacks)
    for image, seed, each in zip(made.images, made.seeds, settings, strict=True):
        job.put(Picture(request.file(image, each | made_by), seed, legs, (*request.notes, *made.notes)))
