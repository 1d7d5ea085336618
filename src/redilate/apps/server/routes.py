"""The paths that are served."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from .answers import all_at_once, streamed
from .errors import ApiError, ErrorBody, from_validation
from .schemas import (
    EditRequest,
    GenerationRequest,
    Health,
    ImagesResponse,
    ModelCard,
    ModelList,
    edit_body,
)
from .service import Service
from .uploads import read_mask, read_picture

# Each event of the stream; its data is JSON.
_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
_STREAM = {"content": {"text/event-stream": {"schema": _EVENT}}, "description": "Pictures."}
_FILES = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("image/png", "image/jpeg", "image/webp")
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in statuses}


_DRAWING = _errors(400, 401, 404, 408, 413, 429, 503, 504)
# The guard asks for the key; this tells the description of the server about it.
_KEY = [Depends(HTTPBearer(auto_error=False))]


def routes(service: Service) -> APIRouter:
    """All paths of one server."""
    router = APIRouter()
    router.include_router(_images(service), tags=["images"], dependencies=_KEY)
    router.include_router(_models(service), tags=["models"], dependencies=_KEY)
    router.include_router(_operations(service), tags=["operations"])
    return router


def _images(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/images")

    @router.post("/generations", response_model=ImagesResponse, responses={200: _STREAM, **_DRAWING})
    async def generations(asked: GenerationRequest, request: Request) -> Any:
        """Draw pictures from a prompt."""
        drawing = service.checked(service.understand(asked))
        if asked.stream:
            return await streamed(service, request, drawing, "image_generation")
        return await all_at_once(service, request, drawing, asked.response_format == "url")

    @router.post(
        "/edits",
        response_model=ImagesResponse,
        responses={200: _STREAM, **_DRAWING},
        openapi_extra={"requestBody": edit_body()},
    )
    async def edits(request: Request) -> Any:
        """Draw pictures from a prompt and a picture."""
        async with request.form(max_files=2, max_fields=50) as form:
            data = await _image(form, service.limits.upload_megabytes)
            masked = await _mask(form, service.limits.upload_megabytes)
            asked = _fields(form)
        most, notes = service.limits.upload_megapixels, []
        image = await run_in_threadpool(read_picture, data, megapixels=most, on_note=notes.append)
        mask = None if masked is None else await run_in_threadpool(read_mask, masked, image, megapixels=most)
        drawing = replace(service.understand(asked, image), notes=tuple(notes))
        drawing = await run_in_threadpool(service.checked, drawing, image, mask)
        if asked.stream:
            return await streamed(service, request, drawing, "image_edit")
        return await all_at_once(service, request, drawing, asked.response_format == "url")

    return router


def _models(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/models")
    cards = {name: ModelCard(id=name, created=service.started) for name in service.names}

    @router.get("", responses=_errors(401))
    async def models() -> ModelList:
        """The model that is served, under each of its names."""
        return ModelList(data=list(cards.values()))

    # A hub's name has a slash in it.
    @router.get("/{name:path}", responses=_errors(401, 404))
    async def model(name: Annotated[str, Path(max_length=500)]) -> ModelCard:
        """One model."""
        if name not in cards:
            raise service.no_such_model(name)
        return cards[name]

    return router


def _operations(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", responses={503: {"model": Health, "description": "Shutting down."}})
    async def healthz(response: Response) -> Health:
        """Whether requests are taken; needs no key."""
        draining = service.worker.draining
        response.status_code = 503 if draining else 200
        return Health(
            status="draining" if draining else "ok",
            model=service.pipeline.name,
            waiting=service.worker.waiting,
            drawing=service.worker.busy,
        )

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **_errors(401)},
        dependencies=_KEY,
    )
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get(
        "/v1/files/{name}", response_class=Response, responses={200: {"content": _FILES}, **_errors(404)}
    )
    async def stored_file(name: str) -> Response:
        """A picture that an answer named by URL; needs no key but its name."""
        kept = service.store.get(name)
        if kept is None:
            raise ApiError(404, "there is no such file, or it is no longer kept", code="not_found")
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
        return Response(kept.data, media_type=kept.media, headers=headers)

    return router


async def _image(form: FormData, megabytes: float) -> bytes:
    """The one picture of a form, as `image` or as OpenAI's client names a list of one."""
    if not all(map(_is_empty, form.getlist("markup"))):
        cause = "markup is not supported; a mask says where the picture is drawn anew"
        raise ApiError(400, cause, code="invalid_value", param="markup")
    sent = [value for name in ("image", "image[]") for value in form.getlist(name)]
    if len(sent) != 1:
        found = f"{len(sent)} were sent" if sent else "none was sent"
        raise ApiError(400, f"image: one file is needed; {found}", code="invalid_value", param="image")
    return await _bytes(sent[0], "image", megabytes)


async def _mask(form: FormData, megabytes: float) -> bytes | None:
    """The mask of a form, or None where it has none."""
    sent = [value for value in form.getlist("mask") if not _is_empty(value)]
    if len(sent) > 1:
        raise ApiError(
            400, f"mask: one file works; {len(sent)} were sent", code="invalid_value", param="mask"
        )
    return await _bytes(sent[0], "mask", megabytes) if sent else None


async def _bytes(sent: UploadFile | str, name: str, megabytes: float) -> bytes:
    if not isinstance(sent, UploadFile):
        cause = f"{name}: a file is needed, and text was sent; with curl, -F {name}=@picture.png sends one"
        raise ApiError(400, cause, code="invalid_value", param=name)
    data = await sent.read()
    if len(data) > megabytes * 1e6:
        raise ApiError(
            413, f"{name} has more than {megabytes:g} megabytes", code="image_too_large", param=name
        )
    return data


def _is_empty(value: UploadFile | str) -> bool:
    return value == "" if isinstance(value, str) else not value.filename


def _fields(form: FormData) -> EditRequest:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        # A form sends its fields whether they are filled in or not.
        if name in ("image", "image[]", "mask") or (_is_empty(value) and name != "prompt"):
            continue
        if name in fields:
            raise ApiError(400, f"{name[:100]} is given twice", code="invalid_value", param=name[:100])
        fields[name] = value
    try:
        return EditRequest.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from error
