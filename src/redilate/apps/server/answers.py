"""From a job's events to an answer: all pictures at once, or a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from .errors import NO_RETRY, ApiError, from_failure
from .picture_request import MEDIA, Done, Event, Failed, Left, Partial, Picture, PictureRequest
from .schemas import ImageData, ImagesResponse
from .service import Service
from .worker import Cancelled, Job, shutting_down

# There are no tokens to be paid for; a client may still look for them.
_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


async def all_at_once(
    service: Service, request: Request, drawing: PictureRequest, urls: bool
) -> ImagesResponse:
    """Wait for every picture.

    Raises:
        ApiError: what went wrong; 499 if the client left, which nobody reads but the metrics.
    """
    data = []
    async with _events(service, request, drawing) as events:
        async for event in events:
            if isinstance(event, Picture):
                data.append(_data(service, request, drawing, event, urls))
    return ImagesResponse(
        created=int(time.time()), data=data, output_format=drawing.output, size=drawing.size
    )


async def streamed(
    service: Service, request: Request, drawing: PictureRequest, name: str
) -> StreamingResponse:
    """Send previews and the picture as they come, as `name`.partial_image and `name`.completed.

    Raises:
        ApiError: the queue is full.
    """
    context = _events(service, request, drawing)
    events = await context.__aenter__()

    async def lines() -> AsyncIterator[str]:
        try:
            async for event in events:
                if isinstance(event, Partial):
                    said = {"partial_image_index": event.index}
                    yield _line(f"{name}.partial_image", drawing, event.data, said)
                elif isinstance(event, Picture):
                    said = {"usage": _USAGE, "seed": event.seed, "notes": event.notes}
                    yield _line(f"{name}.completed", drawing, event.data, said)
        except ApiError as error:
            yield f"event: error\ndata: {json.dumps(error.body)}\n\n"
        finally:
            await context.__aexit__(None, None, None)

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@asynccontextmanager
async def _events(
    service: Service, request: Request, drawing: PictureRequest
) -> AsyncIterator[AsyncIterator[Event]]:
    """Submit a drawing and listen to it until it is done; however the `with` ends, the drawing does too."""
    job = Job(drawing)
    service.worker.submit(job)
    watching = asyncio.create_task(_watch(service, request, job))
    try:
        yield _until_done(service, job)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        service.worker.cancel(job)


async def _watch(service: Service, request: Request, job: Job) -> None:
    """End the job when its client leaves, and tell its listener, if there is one by then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    service.worker.cancel(job)
    job.events.put_nowait(Left())


async def _until_done(service: Service, job: Job) -> AsyncIterator[Event]:
    late = ApiError(
        504,
        f"the picture was not done within {service.limits.timeout:g} s, waiting included; it has been given up",
        code="timeout",
        headers=NO_RETRY,
    )
    deadline = asyncio.get_running_loop().time() + service.limits.timeout
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                event = await job.events.get()
        except TimeoutError:
            raise late from None
        match event:
            case Done():
                return
            case Left():
                raise ApiError(499, "the client has left", code="client_closed_request")
            case Failed(error):
                raise shutting_down() if isinstance(error, Cancelled) else from_failure(error)
            case Picture():
                service.metrics.images.labels(job.drawing.method, job.legs).inc()
        yield event


def _data(
    service: Service, request: Request, drawing: PictureRequest, picture: Picture, urls: bool
) -> ImageData:
    told = {"seed": picture.seed, "notes": list(picture.notes)}
    if not urls:
        return ImageData(b64_json=b64encode(picture.data).decode(), **told)
    name = service.store.put(picture.data, MEDIA[drawing.output])
    return ImageData(url=str(request.url_for("stored_file", name=name)), **told)


def _line(kind: str, drawing: PictureRequest, data: bytes, more: dict[str, Any]) -> str:
    said = {
        "type": kind,
        "b64_json": b64encode(data).decode(),
        "created_at": int(time.time()),
        "size": drawing.size,
        "quality": "auto",
        "background": "opaque",
        "output_format": drawing.output,
    }
    return f"event: {kind}\ndata: {json.dumps(said | more)}\n\n"
