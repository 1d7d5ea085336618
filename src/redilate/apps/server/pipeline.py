"""The model at work: a drawing in, files out, with their settings inside."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor

from redilate.generation.drawing import Request
from redilate.generation.resolve import resolve
from redilate.generation.run import Watch, run
from redilate.pipelines.families import latent_scale, native_size
from redilate.pipelines.preview import preview

from ..metadata import check_prompts, picture_bytes, provenance
from .picture_request import Partial, Picture, PictureRequest
from .worker import Job

log = logging.getLogger("redilate.server")


class ServedPipeline:
    """Draws with one pipeline, which nobody else may use meanwhile.

    Attributes:
        name: the model's, as /v1/models lists it.
        native: (height, width) in pixels.
    """

    def __init__(self, pipe: Any, model: str | None):
        self._pipe = pipe
        self._made_by = provenance(pipe, model)
        self._using = threading.Lock()
        self.name = self._made_by["model"]
        self.native = native_size(pipe)

    @property
    def scale(self) -> int:
        """What sides must be multiples of, in pixels."""
        return latent_scale(self._pipe)

    def check(self, drawing: PictureRequest) -> None:
        """Refuse, before it waits, what could not be drawn.

        Raises:
            RedilateError: a size that latents can't have, prompts that the file can't hold, steps that the
                scheduler can't take, a strength that the pipeline can't do.
        """
        check_prompts(drawing.output.upper(), drawing.prompt, drawing.negative)
        resolve(self._pipe, self._request(drawing))

    def draw(self, job: Job) -> None:
        """Draw a job's pictures, each sent when it is done."""

        with self._using:
            resolved = resolve(self._pipe, self._request(job.drawing))
            notes = [*job.drawing.notes, *resolved.notes]

            def note(line: str) -> None:
                log.warning(line)
                notes.append(line)

            def send(image: Image.Image, settings: dict[str, Any]) -> None:
                file = _file(image, job.drawing, settings | self._made_by)
                job.put(Picture(file, settings["seed"], tuple(dict.fromkeys(notes))))

            job.legs = len(resolved.legs)
            watch = _Previews(self._pipe, job, len(resolved.legs)).watch
            run(self._pipe, resolved, replace(watch, on_picture=send, on_note=note))

    def _request(self, drawing: PictureRequest) -> Request:
        """What the engine is asked for."""
        return Request(
            prompt=drawing.prompt,
            negative=drawing.negative,
            width=drawing.width,
            height=drawing.height,
            seed=drawing.seed,
            count=drawing.count,
            steps=drawing.steps,
            guidance=drawing.guidance,
            strength=drawing.strength,
            preset=drawing.preset,
            method=drawing.method,
            image=drawing.image,
            mask=drawing.mask,
            from_picture="edit",
        )


class _Previews:
    """Sends the previews that are wanted, evenly over the steps, and stops a drawing that is cancelled."""

    def __init__(self, pipe: Any, job: Job, legs: int):
        self._pipe, self._job = pipe, job
        self._done = self._total = self._sent = 0
        # The picture at native size is the best preview: the last one is kept for it.
        self._of_latents = job.drawing.partials - (legs > 1)
        self.watch = Watch(on_step=self.on_step, on_latents=self.on_latents, on_preview=self.on_preview)

    def on_step(self, done: int, total: int) -> None:
        self._job.check()
        self._done, self._total = done, total

    def on_latents(self, latents: Tensor) -> None:
        wanted = self._job.drawing.partials
        if self._sent >= self._of_latents or self._done >= self._total:
            return
        if self._done * (wanted + 1) >= self._total * (self._sent + 1):
            self._send(preview(self._pipe, latents))

    def on_preview(self, image: Image.Image) -> None:
        if self._sent < self._job.drawing.partials:
            self._send(image)

    def _send(self, image: Image.Image) -> None:
        self._job.put(Partial(_file(image, self._job.drawing, None), self._sent))
        self._sent += 1


def _file(image: Image.Image, drawing: PictureRequest, settings: dict[str, Any] | None) -> bytes:
    """The picture as a file of the format asked for, with its settings if it is the finished one."""
    return picture_bytes(image.convert("RGB"), drawing.output.upper(), settings, drawing.quality)
