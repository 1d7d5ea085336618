"""The ASGI application: the routes behind the guard, and their description at /openapi.json."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPBearer

from redilate import __version__

from . import errors
from .answers import answer
from .errors import ApiError, ErrorBody, invalid
from .guard import Guard
from .schemas import GenerationRequest, Health, ImagesResponse, ModelCard, ModelList, edit_body
from .service import Service
from .uploads import fields_of, file_of, is_empty, read_mask, read_picture


def create_app(service: Service) -> FastAPI:
    """A service's application; its end stops the drawing thread."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.thread.stop, 10.0)

    app = FastAPI(
        title="Redilate",
        version=__version__,
        summary="Pictures far larger than a diffusion U-Net was trained on, in the words of OpenAI's images API.",
        lifespan=lifespan,
        # These pages would load scripts from other servers.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    errors.install(app)
    app.include_router(_images, tags=["images"], dependencies=_KEY)
    app.include_router(_models, tags=["models"], dependencies=_KEY)
    app.include_router(_operations, tags=["operations"])
    upload, seconds = int(service.limits.upload_megabytes * 1e6), service.limits.body_seconds
    app.add_middleware(Guard, keys=service.keys, upload=upload, seconds=seconds)
    service.metrics.measure(app)
    if service.origins:
        # Outermost, since a browser's preflight has no key, and since it must be able to read refusals.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    described = app.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        for path in schema["paths"].values():
            for operation in path.values():
                # FastAPI answers a wrong value with 422; here it is 400, as OpenAI's.
                operation["responses"].pop("422", None)
        return schema

    app.openapi = openapi
    return app


def _service(http: Request) -> Service:
    return http.app.state.service


Serving = Annotated[Service, Depends(_service)]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in statuses}


# For the description in /openapi.json; the guard checks the key.
_KEY = [Depends(HTTPBearer(auto_error=False))]
# An event of the stream; its data is JSON.
_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
_STREAM = {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "Pictures."}
_PICTURES: dict[str, Any] = {
    "response_model": ImagesResponse,
    "responses": {200: _STREAM, **_errors(400, 401, 404, 408, 413, 429, 503, 504)},
}
_FILES = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("image/png", "image/jpeg", "image/webp")
}

_images = APIRouter(prefix="/v1/images")
_models = APIRouter(prefix="/v1/models")
_operations = APIRouter()


@_images.post("/generations", **_PICTURES)
async def generations(body: GenerationRequest, http: Request, service: Serving) -> Any:
    """Draw pictures from a prompt."""
    return await answer(service, http, body, service.request(body))


@_images.post("/edits", **_PICTURES, openapi_extra={"requestBody": edit_body()})
async def edits(http: Request, service: Serving) -> Any:
    """Draw pictures from a prompt and a picture."""
    limits, notes = service.limits, []
    async with http.form(max_files=2, max_fields=50) as form:
        if any(not is_empty(value) for value in form.getlist("markup")):
            raise invalid("markup", "it is not supported; a mask says where the picture is drawn anew")
        # OpenAI's client names a list of one `image[]`.
        data = await file_of(form, limits.upload_megabytes, "image", "image[]")
        if data is None:
            raise invalid("image", "one file is needed; none was sent")
        masked = await file_of(form, limits.upload_megabytes, "mask")
        body = fields_of(form)
    most = limits.upload_megapixels
    image = await run_in_threadpool(read_picture, data, megapixels=most, on_note=notes.append)
    mask = None if masked is None else await run_in_threadpool(read_mask, masked, image, megapixels=most)
    request = await run_in_threadpool(service.request, body, image, mask, notes)
    return await answer(service, http, body, request)


@_models.get("", responses=_errors(401))
async def models(service: Serving) -> ModelList:
    """The model that is served, under each of its names."""
    return ModelList(data=[ModelCard(id=name, created=service.started) for name in service.names])


# A hub's name has a slash in it.
@_models.get("/{name:path}", responses=_errors(401, 404))
async def model(name: Annotated[str, Path(max_length=500)], service: Serving) -> ModelCard:
    """One model."""
    if name not in service.names:
        raise service.no_such_model(name)
    return ModelCard(id=name, created=service.started)


@_operations.get("/healthz", responses={503: {"model": Health, "description": "Shutting down."}})
async def healthz(response: Response, service: Serving) -> Health:
    """Whether requests are taken; needs no key."""
    thread = service.thread
    response.status_code = 503 if thread.draining else 200
    return Health(
        status="draining" if thread.draining else "ok",
        model=service.names[0],
        waiting=thread.waiting,
        drawing=thread.busy,
    )


@_operations.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **_errors(401)},
    dependencies=_KEY,
)
async def metrics(service: Serving) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@_operations.get(
    "/v1/files/{name}", response_class=Response, responses={200: {"content": _FILES}, **_errors(404)}
)
async def stored_file(name: str, service: Serving) -> Response:
    """A picture that an answer named by URL; needs no key but its name."""
    kept = service.store.get(name)
    if kept is None:
        raise ApiError(404, "not_found", "there is no such file, or it is no longer kept")
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
    return Response(kept.data, media_type=kept.media, headers=headers)
