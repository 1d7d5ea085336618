"""`Service`: the pipeline, queue and limits that the routes share, and requests from bodies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image

from redilate.errors import RedilateError
from redilate.generation.drawing import settled_seed
from redilate.generation.edit import STRENGTH as EDIT_STRENGTH

from ..command_line import parse_size
from ..drawing_thread import DrawingThread
from .errors import ApiError, invalid
from .keys import Keys
from .limits import Limits
from .metrics import Metrics
from .pipeline import ServedPipeline, ServiceRequest
from .schemas import STEPS, EditRequest, ImageRequest
from .store import Store
from .uploads import fitted

_SAME_RATIO = 0.05  # sides in multiples of 8 seldom have the exact ratio


class Service:
    """One server's parts.

    Attributes:
        names: the model's names in requests: its own, and others for clients with a built-in name.
        origins: of web pages that may use the server from a browser, such as `https://example.com`; `*`: all.
        started: seconds since 1970.
    """

    def __init__(
        self,
        pipeline: ServedPipeline,
        limits: Limits | None = None,
        keys: Keys | None = None,
        names: Sequence[str] = (),
        origins: Sequence[str] = (),
    ):
        self.pipeline = pipeline
        self.names = tuple(dict.fromkeys((pipeline.name, *names)))
        self.origins = tuple(origins)
        self.limits = limits or Limits()
        self.keys = keys or Keys()
        self.thread = DrawingThread(pipeline.draw, self.limits.queue)
        self.metrics = Metrics(self.thread)
        self.store = Store(self.limits.stored_megabytes * 1e6, self.limits.stored_seconds)
        self.started = int(time.time())

    def request(self, body: ImageRequest, image: Image | None = None) -> ServiceRequest:
        """The request in a body, yet to be `checked`; of an edit's `image` only the size is used.

        Raises:
            ApiError: beyond the limits, or for something that this server does not have.
        """
        if body.model is not None and body.model not in self.names:
            raise self.no_such_model(body.model)
        if body.background == "transparent":
            raise invalid("background", "pictures are opaque; leave it out")
        count = body.n or 1
        if body.stream and count > 1:
            raise invalid("n", f"a stream is one picture, not {count}")
        if body.stream and body.response_format == "url":
            raise invalid("response_format", "a stream has its pictures in b64_json")
        if count > self.limits.count:
            raise invalid("n", f"{count} pictures are more than the {self.limits.count} of one request")
        steps = body.steps or min(STEPS[body.quality or "auto"], self.limits.steps)
        if steps > self.limits.steps:
            raise invalid("steps", f"{steps} is more than {self.limits.steps}")
        width, height = self._size(body.size, image)
        most = self.limits.megapixels
        if width * height > most * 1e6:
            raise invalid("size", f"{width}x{height} is more than the {most:g} megapixels of one picture")
        output = body.output_format or "png"
        if body.output_compression is not None and output == "png":
            raise invalid("output_compression", "a PNG loses nothing; it is for jpeg and webp")
        edit = isinstance(body, EditRequest)
        return ServiceRequest(
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
            from_picture="edit",
            partials=(body.partial_images or 0) if body.stream else 0,
            output=output,
            quality=body.output_compression,
        )

    def checked(
        self, request: ServiceRequest, image: Image | None = None, mask: Image | None = None
    ) -> ServiceRequest:
        """The request with `image` and `mask`, if any, fitted to its size; RedilateError if it could not be drawn."""
        if image is not None:
            width, height = request.width or image.width, request.height or image.height
            notes = request.notes
            if abs(image.width * height / (image.height * width) - 1) > _SAME_RATIO:
                had = f"{image.width}x{image.height}"
                notes += (f"the picture is {had}: what {request.size} leaves no place for is cut",)
            fitted_mask = None if mask is None else fitted(mask, width, height)
            request = replace(request, image=fitted(image, width, height), mask=fitted_mask, notes=notes)
        self.pipeline.check(request)
        return request

    def no_such_model(self, name: str) -> ApiError:
        """The answer for a model that is not served."""
        return ApiError(
            404,
            f"there is no model {name!r} here; {' or '.join(map(repr, self.names))} is served",
            code="model_not_found",
            param="model",
        )

    def _size(self, asked: str | None, image: Image | None) -> tuple[int, int]:
        if asked is not None and asked != "auto":
            try:
                return parse_size(asked)
            except RedilateError as error:
                raise invalid("size", str(error)) from error
        if image is None:
            height, width = self.pipeline.native
            return width, height
        unit = self.pipeline.scale
        width, height = image.size
        return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)
