"""Answers from a job's events: all pictures at once, or a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from ..drawing_thread import Ended, Job
from .draw import Partial, Picture, ServiceRequest
from .errors import NO_RETRY, ApiError, answer_to
from .schemas import EditRequest, GenerationRequest, ImageData, ImagesResponse
from .service import Service

# No tokens are counted here, but clients may look for them.
_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


async def answer(
    service: Service, http: Request, body: GenerationRequest, request: ServiceRequest
) -> ImagesResponse | StreamingResponse:
    """Submit a request; wait for every picture, or stream previews and the picture as the body asks.

    Raises:
        ApiError: a picture failed, or (499, for the metrics) the client left.
        QueueFull, Cancelled: the request was not taken.
    """
    events = _submit(service, http, request)
    if body.stream:
        lines = _lines(events, request, "image_edit" if isinstance(body, EditRequest) else "image_generation")
        return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    data = []
    async with aclosing(events):
        async for event in events:
            assert isinstance(event, Picture)  # previews are only streamed
            one = ImageData(seed=event.seed, notes=list(event.notes))
            if body.response_format == "url":
                name = service.store.put(event.data, f"image/{request.output}")
                one.url = str(http.url_for("stored_file", name=name))
            else:
                one.b64_json = b64encode(event.data).decode()
            data.append(one)
    return ImagesResponse(
        created=int(time.time()), data=data, output_format=request.output, size=request.size
    )


async def _lines(
    events: AsyncGenerator[Partial | Picture], request: ServiceRequest, name: str
) -> AsyncIterator[str]:
    """Server-sent events `name`.partial_image and `name`.completed."""
    async with aclosing(events):
        try:
            async for event in events:
                if isinstance(event, Partial):
                    kind, more = "partial_image", {"partial_image_index": event.index}
                else:
                    kind, more = "completed", {"usage": _USAGE, "seed": event.seed, "notes": event.notes}
                said = {
                    "type": f"{name}.{kind}",
                    "b64_json": b64encode(event.data).decode(),
                    "created_at": int(time.time()),
                    "size": request.size,
                    "quality": "auto",
                    "background": "opaque",
                    "output_format": request.output,
                }
                yield f"event: {name}.{kind}\ndata: {json.dumps(said | more)}\n\n"
        except ApiError as error:
            yield f"event: error\ndata: {json.dumps(error.body)}\n\n"


def _submit(service: Service, http: Request, request: ServiceRequest) -> AsyncGenerator[Partial | Picture]:
    """Submit a request; → its events, with which the drawing ends, too."""
    events: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + service.limits.timeout

    def put(event: Any) -> None:
        with suppress(RuntimeError):  # the event loop has ended before the drawing
            loop.call_soon_threadsafe(events.put_nowait, event)

    job = Job(request, put)
    service.thread.submit(job)

    async def watch() -> None:
        """End the job when its client leaves, and tell the listener."""
        while (await http.receive())["type"] != "http.disconnect":
            pass
        events.put_nowait(Ended(ApiError(499, "client_closed_request", "the client has left")))
        service.thread.cancel(job)

    # From now on, since a client may leave before anybody asks for the first event.
    watching = asyncio.create_task(watch())

    async def until_done() -> AsyncGenerator[Partial | Picture]:
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    event = await events.get()
                match event:
                    case Ended(error):
                        if error is None:
                            return
                        raise answer_to(error)
                    case Picture(legs=legs):
                        service.metrics.images.labels(request.method, legs).inc()
                yield event
        except TimeoutError:
            late = f"the picture was not done within {service.limits.timeout:g} s, waiting included"
            raise ApiError(504, "timeout", f"{late}; it has been given up", headers=NO_RETRY) from None
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            service.thread.cancel(job)

    return until_done()
