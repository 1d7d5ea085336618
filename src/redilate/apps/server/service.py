"""One server's parts, and how a body becomes a request within its limits."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from cachetools import TTLCache
from PIL.Image import Image

from redilate.errors import RedilateError
from redilate.generation.drawing import settled_seed
from redilate.generation.edit import STRENGTH as EDIT_STRENGTH
from redilate.generation.resolve import resolve
from redilate.pipelines.families import latent_scale, native_size

from ..command_line import PipelineOptions, parse_size
from ..drawing_thread import DrawingThread
from ..metadata import check_prompts, provenance
from .draw import ServiceRequest, draw
from .errors import ApiError, invalid
from .guard import Keys
from .limits import Limits
from .metrics import Metrics
from .schemas import STEPS, EditRequest, GenerationRequest
from .uploads import fitted

_SAME_RATIO = 0.05  # sides in multiples of 8 seldom have the exact ratio


class Kept(NamedTuple):
    """A file and its media type."""

    data: bytes
    media: str


class Store(TTLCache[str, Kept]):
    """The newest pictures, up to `capacity` bytes and an age of `seconds`; for the event loop only."""

    def __init__(self, capacity: float, seconds: float, clock: Callable[[], float] = time.monotonic):
        # A larger picture is stored alone: TTLCache would refuse it.
        super().__init__(capacity, seconds, clock, getsizeof=lambda kept: min(len(kept.data), capacity))

    def put(self, data: bytes, media: str) -> str:
        """Store a picture under a name that cannot be guessed, of 192 random bits; → the name."""
        name = secrets.token_urlsafe(24)
        self[name] = Kept(data, media)
        return name


class Service:
    """One server's parts; nothing else may use `pipe`, which was loaded with `options`.

    `names` are further names of the model, for clients with a built-in name; `origins` those of web pages that may use
    the server from a browser, such as `https://example.com`, or `*` for all.
    """

    def __init__(
        self,
        pipe: Any,
        model: str | None,
        limits: Limits | None = None,
        keys: Keys | None = None,
        names: Sequence[str] = (),
        origins: Sequence[str] = (),
        options: PipelineOptions | None = None,
    ):
        made_by = provenance(pipe, model, options)
        self._pipe, self.origins = pipe, origins
        self._native, self._unit = native_size(pipe), latent_scale(pipe)
        self.limits, self.keys = limits or Limits(), keys or Keys()
        self.names = tuple(dict.fromkeys((made_by["model"], *names)))
        self.thread = DrawingThread(partial(draw, pipe, made_by), self.limits.queue)
        self.metrics = Metrics(self.thread)
        self.store = Store(self.limits.stored_megabytes * 1e6, self.limits.stored_seconds)
        self.started = int(time.time())

    def request(
        self,
        body: GenerationRequest,
        image: Image | None = None,
        mask: Image | None = None,
        notes: Sequence[str] = (),
    ) -> ServiceRequest:
        """The request in a body, with an edit's `image`, its `mask` and the `notes` on them.

        ApiError beyond the limits or for something that this server does not have, RedilateError for what could not be
        drawn.
        """
        limits, count, output = self.limits, body.n or 1, body.output_format or "png"
        if body.model is not None and body.model not in self.names:
            raise self.no_such_model(body.model)
        if body.background == "transparent":
            raise invalid("background", "pictures are opaque; leave it out")
        if body.stream and count > 1:
            raise invalid("n", f"a stream is one picture, not {count}")
        if body.stream and body.response_format == "url":
            raise invalid("response_format", "a stream has its pictures in b64_json")
        if count > limits.count:
            raise invalid("n", f"{count} pictures are more than the {limits.count} of one request")
        steps = body.steps or min(STEPS[body.quality or "auto"], limits.steps)
        if steps > limits.steps:
            raise invalid("steps", f"{steps} is more than {limits.steps}")
        width, height = self._size(body.size, image)
        if width * height > limits.megapixels * 1e6:
            most = f"the {limits.megapixels:g} megapixels of one picture"
            raise invalid("size", f"{width}x{height} is more than {most}")
        if body.output_compression is not None and output == "png":
            raise invalid("output_compression", "a PNG loses nothing; it is for jpeg and webp")
        if image is not None and abs(image.width * height / (image.height * width) - 1) > _SAME_RATIO:
            had, asked = f"{image.width}x{image.height}", f"{width}x{height}"
            notes = (*notes, f"the picture is {had}: what {asked} leaves no place for is cut")
        edit = isinstance(body, EditRequest)
        request = ServiceRequest(
            prompt=body.prompt,
            negative=body.negative_prompt or None,
            width=width,
            height=height,
            seed=settled_seed(body.seed, count),
            count=count,
            steps=steps,
            guidance=body.guidance,
            method=body.method,
            preset=body.preset,
            strength=EDIT_STRENGTH if edit and body.strength is None else body.strength,
            image=None if image is None else fitted(image, width, height),
            mask=None if mask is None else fitted(mask, width, height),
            from_picture="edit",
            notes=tuple(notes),
            partials=(body.partial_images or 0) if body.stream else 0,
            output=output,
            quality=body.output_compression,
        )
        check_prompts(output.upper(), body.prompt, request.negative)
        resolve(self._pipe, request)  # refused before it waits
        return request

    def no_such_model(self, name: str) -> ApiError:
        """The answer to a model that is not served."""
        message = f"there is no model {name!r} here; {' or '.join(map(repr, self.names))} is served"
        return ApiError(404, "model_not_found", message, "model")

    def _size(self, asked: str | None, image: Image | None) -> tuple[int, int]:
        if asked is not None and asked != "auto":
            try:
                return parse_size(asked)
            except RedilateError as error:
                raise invalid("size", str(error)) from error
        if image is None:
            return self._native[1], self._native[0]
        width, height = (max(self._unit, round(side / self._unit) * self._unit) for side in image.size)
        return width, height
