"""What the routes share: the pipeline, the queue, the limits; and a request made into a drawing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from redilate.errors import RedilateError
from redilate.generation.drawing import settled_seed
from redilate.generation.edit import STRENGTH as EDIT_STRENGTH

from ..command_line import parse_size
from .errors import ApiError
from .keys import Keys
from .limits import Limits
from .metrics import Metrics
from .picture_request import PictureRequest
from .schemas import STEPS, EditRequest, GenerationRequest
from .store import Store
from .uploads import fitted
from .worker import Worker

if TYPE_CHECKING:
    from PIL.Image import Image

    from .pipeline import ServedPipeline

_SAME_RATIO = 0.05  # sides in multiples of 8 are seldom of the very ratio


class Service:
    """One server's parts.

    Attributes:
        names: what the model may be called in a request: its own name, and others for clients that have one built in.
        origins: of web pages that may use the server from a browser, such as `https://example.com`; `*`: of all.
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
        self.worker = Worker(pipeline.draw, self.limits.queue)
        self.metrics = Metrics(self.worker)
        self.store = Store(self.limits.stored_megabytes * 1e6, self.limits.stored_seconds)
        self.started = int(time.time())

    def understand(
        self, asked: GenerationRequest | EditRequest, image: Image | None = None
    ) -> PictureRequest:
        """The drawing that a request asks for, for `checked`; of `image`, the picture of an edit, only the size counts.

        Raises:
            ApiError: beyond the limits, or something that this server has not.
        """
        if asked.model is not None and asked.model not in self.names:
            raise self.no_such_model(asked.model)
        if asked.background == "transparent":
            raise _invalid("background", "pictures are opaque; leave it out")
        count = asked.n or 1
        if asked.stream and count > 1:
            raise _invalid("n", f"a stream is one picture, not {count}")
        if asked.stream and asked.response_format == "url":
            raise _invalid("response_format", "a stream has its pictures in b64_json")
        if count > self.limits.count:
            raise _invalid("n", f"{count} pictures are more than the {self.limits.count} of one request")
        steps = asked.steps or min(STEPS[asked.quality or "auto"], self.limits.steps)
        if steps > self.limits.steps:
            raise _invalid("steps", f"{steps} is more than {self.limits.steps}")
        width, height = self._size(asked.size, image)
        if width * height > self.limits.megapixels * 1e6:
            raise _invalid(
                "size",
                f"{width}x{height} is more than the {self.limits.megapixels:g} megapixels of one picture",
            )
        edit = isinstance(asked, EditRequest)
        return PictureRequest(
            prompt=asked.prompt,
            negative=asked.negative_prompt or None,
            width=width,
            height=height,
            seed=settled_seed(asked.seed, count),
            count=count,
            steps=steps,
            guidance=asked.guidance,
            method=asked.method,
            preset=asked.preset,
            image=None,
            strength=EDIT_STRENGTH if edit and asked.strength is None else asked.strength,
            partials=(asked.partial_images or 0) if asked.stream else 0,
            output=_output(asked),
            quality=asked.output_compression,
        )

    def checked(
        self, drawing: PictureRequest, image: Image | None = None, mask: Image | None = None
    ) -> PictureRequest:
        """The drawing, from `image` and its `mask` fitted to its size where there are any, once it is known to be
        possible.

        Raises:
            RedilateError: what could not be drawn, before it waits.
        """
        if image is not None:
            if abs(image.width * drawing.height / (image.height * drawing.width) - 1) > _SAME_RATIO:
                cut = f"the picture is {image.width}x{image.height}: what {drawing.size} leaves no place for is cut"
                drawing = replace(drawing, notes=(*drawing.notes, cut))
            drawing = replace(drawing, image=fitted(image, drawing.width, drawing.height))
        if mask is not None:
            drawing = replace(drawing, mask=fitted(mask, drawing.width, drawing.height))
        self.pipeline.check(drawing)
        return drawing

    def no_such_model(self, name: str | None) -> ApiError:
        """The answer to a model that is not served."""
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
                raise _invalid("size", str(error)) from error
        if image is None:
            height, width = self.pipeline.native
            return width, height
        unit = self.pipeline.scale
        width, height = image.size
        return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)


def _output(asked: GenerationRequest | EditRequest) -> Literal["png", "jpeg", "webp"]:
    if asked.output_compression is not None and asked.output_format in (None, "png"):
        raise _invalid("output_compression", "a PNG loses nothing; it is for jpeg and webp")
    return asked.output_format or "png"


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(400, f"{param}: {message}", code="invalid_value", param=param)
