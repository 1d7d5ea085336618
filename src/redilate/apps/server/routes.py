"""The service's routes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from .answers import all_at_once, streamed
from .errors import ApiError, ErrorBody, from_validation, invalid
from .pipeline import ServiceRequest
from .schemas import (
    EditRequest,
    GenerationRequest,
    Health,
    ImageRequest,
    ImagesResponse,
    ModelCard,
    ModelList,
    edit_body,
)
from .service import Service
from .uploads import read_mask, read_picture

# An event of the stream; its data is JSON.
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
# For the description in /openapi.json; the guard checks the key.
_KEY = [Depends(HTTPBearer(auto_error=False))]


def routes(service: Service) -> APIRouter:
    """All routes of one service."""
    router = APIRouter()
    router.include_router(_images(service), tags=["images"], dependencies=_KEY)
    router.include_router(_models(service), tags=["models"], dependencies=_KEY)
    router.include_router(_operations(service), tags=["operations"])
    return router


def _images(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/images")
    answers: dict[str, Any] = {"response_model": ImagesResponse, "responses": {200: _STREAM, **_DRAWING}}

    async def answer(body: ImageRequest, http: Request, request: ServiceRequest, name: str) -> Any:
        if body.stream:
            return await streamed(service, http, request, name)
        return await all_at_once(service, http, request, body.response_format == "url")

    @router.post("/generations", **answers)
    async def generations(body: GenerationRequest, http: Request) -> Any:
        """Draw pictures from a prompt."""
        return await answer(body, http, service.checked(service.request(body)), "image_generation")

    @router.post("/edits", **answers, openapi_extra={"requestBody": edit_body()})
    async def edits(http: Request) -> Any:
        """Draw pictures from a prompt and a picture."""
        async with http.form(max_files=2, max_fields=50) as form:
            if any(not _is_empty(value) for value in form.getlist("markup")):
                raise invalid("markup", "it is not supported; a mask says where the picture is drawn anew")
            # OpenAI's client names a list of one `image[]`.
            data = await _file(form, service.limits.upload_megabytes, "image", "image[]")
            if data is None:
                raise invalid("image", "one file is needed; none was sent")
            masked = await _file(form, service.limits.upload_megabytes, "mask")
            body = _fields(form)
        most, notes = service.limits.upload_megapixels, []
        image = await run_in_threadpool(read_picture, data, megapixels=most, on_note=notes.append)
        mask = None if masked is None else await run_in_threadpool(read_mask, masked, image, megapixels=most)
        request = replace(service.request(body, image), notes=tuple(notes))
        request = await run_in_threadpool(service.checked, request, image, mask)
        return await answer(body, http, request, "image_edit")

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
        draining = service.thread.draining
        response.status_code = 503 if draining else 200
        return Health(
            status="draining" if draining else "ok",
            model=service.pipeline.name,
            waiting=service.thread.waiting,
            drawing=service.thread.busy,
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


async def _file(form: FormData, megabytes: float, *names: str) -> bytes | None:
    """The one file of a form under one of the names; None if there is none."""
    sent = [value for name in names for value in form.getlist(name) if not _is_empty(value)]
    if not sent:
        return None
    name = names[0]
    if len(sent) > 1:
        raise invalid(name, f"one file works; {len(sent)} were sent")
    if not isinstance(sent[0], UploadFile):
        example = f"with curl, -F {name}=@picture.png sends one"
        raise invalid(name, f"a file is needed, and text was sent; {example}")
    data = await sent[0].read()
    if len(data) > megabytes * 1e6:
        cause = f"{name} has more than {megabytes:g} megabytes"
        raise ApiError(413, cause, code="image_too_large", param=name)
    return data


def _is_empty(value: UploadFile | str) -> bool:
    return value == "" if isinstance(value, str) else not value.filename


def _fields(form: FormData) -> EditRequest:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        # Forms send empty fields too.
        if name in ("image", "image[]", "mask") or (_is_empty(value) and name != "prompt"):
            continue
        if name in fields:
            raise invalid(name[:100], "it is given twice")
        fields[name] = value
    try:
        return EditRequest.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False, include_input=False)) from error
