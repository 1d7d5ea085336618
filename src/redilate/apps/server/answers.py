"""Answers from a job's events: all pictures at once, or a stream of server-sent events."""

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

from ..drawing_thread import Cancelled, Done, Failed, Job
from .errors import NO_RETRY, ApiError, from_failure, shutting_down
from .pipeline import Partial, Picture, ServiceRequest
from .schemas import ImageData, ImagesResponse
from .service import Service

# No tokens are counted here, but clients may look for them.
_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


async def all_at_once(service: Service, http: Request, request: ServiceRequest, urls: bool) -> ImagesResponse:
    """Wait for every picture; ApiError if one fails, 499 (for the metrics) if the client left."""
    data = []
    async with _events(service, http, request) as events:
        async for event in events:
            if not isinstance(event, Picture):
                continue
            one = ImageData(seed=event.seed, notes=list(event.notes))
            if urls:
                name = service.store.put(event.data, f"image/{request.output}")
                one.url = str(http.url_for("stored_file", name=name))
            else:
                one.b64_json = b64encode(event.data).decode()
            data.append(one)
    return ImagesResponse(
        created=int(time.time()), data=data, output_format=request.output, size=request.size
    )


async def streamed(service: Service, http: Request, request: ServiceRequest, name: str) -> StreamingResponse:
    """Stream previews and the picture, as `name`.partial_image and `name`.completed."""
    context = _events(service, http, request)
    events = await context.__aenter__()

    async def lines() -> AsyncIterator[str]:
        try:
            async for event in events:
                if isinstance(event, Partial):
                    said = {"partial_image_index": event.index}
                    yield _line(f"{name}.partial_image", request, event.data, said)
                else:
                    said = {"usage": _USAGE, "seed": event.seed, "notes": event.notes}
                    yield _line(f"{name}.completed", request, event.data, said)
        except ApiError as error:
            yield f"event: error\ndata: {json.dumps(error.body)}\n\n"
        finally:
            await context.__aexit__(None, None, None)

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@asynccontextmanager
async def _events(
    service: Service, http: Request, request: ServiceRequest
) -> AsyncIterator[AsyncIterator[Partial | Picture]]:
    """A context that submits a request and gives its events; the drawing ends with it."""
    events: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(event: Any) -> None:
        with suppress(RuntimeError):  # the event loop has ended before the drawing
            loop.call_soon_threadsafe(events.put_nowait, event)

    async def watch() -> None:
        """End the job when its client leaves, and tell the listener."""
        while (await http.receive())["type"] != "http.disconnect":
            pass
        left = ApiError(499, "the client has left", code="client_closed_request")
        events.put_nowait(Failed(left))
        service.thread.cancel(job)

    job = Job(request, put)
    try:
        service.thread.submit(job)
    except Cancelled as error:
        raise shutting_down() from error
    watching = asyncio.create_task(watch())
    try:
        yield _until_done(service, request, events)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        service.thread.cancel(job)


async def _until_done(
    service: Service, request: ServiceRequest, events: asyncio.Queue[Any]
) -> AsyncIterator[Partial | Picture]:
    deadline = asyncio.get_running_loop().time() + service.limits.timeout
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                event = await events.get()
        except TimeoutError:
            given = f"within {service.limits.timeout:g} s, waiting included; it has been given up"
            late = f"the picture was not done {given}"
            raise ApiError(504, late, code="timeout", headers=NO_RETRY) from None
        match event:
            case Done():
                return
            case Failed(error):
                raise from_failure(error)
            case Picture():
                service.metrics.images.labels(request.method, event.legs).inc()
        yield event


def _line(kind: str, request: ServiceRequest, data: bytes, more: dict[str, Any]) -> str:
    said = {
        "type": kind,
        "b64_json": b64encode(data).decode(),
        "created_at": int(time.time()),
        "size": request.size,
        "quality": "auto",
        "background": "opaque",
        "output_format": request.output,
    }
    return f"event: {kind}\ndata: {json.dumps(said | more)}\n\n"
