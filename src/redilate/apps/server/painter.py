"""The model at work: a drawing in, files out, with their settings inside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image
from torch import Tensor

from redilate.generation.edit import edit
from redilate.generation.generate import Generation, generate
from redilate.generation.modes import mode_for
from redilate.pipelines.apply import check_size
from redilate.pipelines.families import latent_scale
from redilate.pipelines.native import native_size
from redilate.pipelines.preview import preview
from redilate.pipelines.schedulers import check_scheduler

from ..arguments import usual_guidance
from ..metadata import check_prompts, embedding
from ..provenance import provenance
from .drawing import Drawing, Partial, Picture
from .worker import Job


class Painter:
    """Draws with one pipeline, which nobody else may use meanwhile.

    Attributes:
        name: the model's, as /v1/models lists it.
        native: (height, width) in pixels.
        guidance: where a request does not say it.
    """

    def __init__(self, pipe: Any, model: str | None):
        self._pipe = pipe
        self._made_by = provenance(pipe, model)
        self._using = threading.Lock()
        self.name = self._made_by["model"]
        self.native = native_size(pipe)
        self.guidance = usual_guidance(model)

    @property
    def scale(self) -> int:
        """What sides must be multiples of, in pixels."""
        return latent_scale(self._pipe)

    def check(self, drawing: Drawing) -> None:
        """Refuse, before it waits, what could not be drawn.

        Raises:
            RedilateError: a size that latents can't have, prompts that the file can't hold, steps that the
                scheduler can't take.
        """
        check_size(drawing.width, drawing.height, self.scale)
        check_prompts(drawing.output.upper(), drawing.prompt, drawing.negative)
        check_scheduler(self._pipe.scheduler, drawing.steps)

    def draw(self, job: Job) -> None:
        """Draw a job's pictures, one after another, each sent when it is done."""
        with self._using:
            drawing = job.drawing = self._settled(job.drawing)
            for index in range(drawing.count):
                made = self._one(drawing, drawing.seed + index, _Watch(self._pipe, job))
                settings = made.settings | self._made_by
                job.put(Picture(_file(made.images[0], drawing, settings), drawing.seed + index))

    def _settled(self, drawing: Drawing) -> Drawing:
        """The drawing with the mode that "auto" comes to."""
        if drawing.mode != "auto":
            return drawing
        mode = mode_for(self._pipe, drawing.width, drawing.height, method=drawing.method)
        return replace(drawing, mode=mode)

    def _one(self, drawing: Drawing, seed: int, watch: _Watch) -> Generation:
        extra: dict[str, Any] = {}
        make: Callable[..., Generation] = generate
        if drawing.image is None:
            extra = {"mode": drawing.mode, "on_preview": watch.on_preview}
        else:
            extra = {"image": drawing.image, "strength": drawing.strength}
            make = edit
        return make(
            self._pipe,
            drawing.prompt,
            width=drawing.width,
            height=drawing.height,
            seed=seed,
            steps=drawing.steps,
            guidance=drawing.guidance,
            negative=drawing.negative,
            method=drawing.method,
            on_step=watch.on_step,
            on_latents=watch.on_latents,
            **extra,
        )


class _Watch:
    """Sends the early looks that are wanted, evenly over the steps, and stops a drawing that is cancelled."""

    def __init__(self, pipe: Any, job: Job):
        self._pipe, self._job = pipe, job
        self._done = self._total = self._sent = 0
        # A relay's picture at native size is the best early look: the last one is kept for it.
        self._of_latents = job.drawing.partials - (job.drawing.mode == "relay")

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


def _file(image: Image.Image, drawing: Drawing, settings: dict[str, Any] | None) -> bytes:
    """The picture as a file of the format asked for, with its settings if it is the finished one."""
    kind = drawing.output.upper()
    extra = {} if settings is None else embedding(kind, settings)
    if kind != "PNG" and drawing.quality is not None:
        extra["quality"] = drawing.quality
    out = BytesIO()
    image.convert("RGB").save(out, format=kind, **extra)
    return out.getvalue()
