"""Middleware that checks keys and bounds bodies before any of a body is read."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .keys import Keys
from .limits import Limits

# Paths without a key; the names of files cannot be guessed.
_OPEN = ("/healthz", "/openapi.json", "/v1/files/")
# Bytes: enough for two prompts of 32,000 escaped characters.
_FIELDS = 2**20
_EDITS = "/v1/images/edits"


class Guard:
    """ASGI middleware: 401 without a key, 413 for a too long body, 408 for one that does not arrive."""

    def __init__(self, app: ASGIApp, keys: Keys, limits: Limits):
        self._app, self._keys = app, keys
        self._upload = _FIELDS + int(limits.upload_megabytes * 1e6)
        self._seconds = limits.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        most = self._upload if scope["path"] == _EDITS else _FIELDS
        if not scope["path"].startswith(_OPEN) and not self._keys.open_to(headers.get(b"authorization")):
            refusal = ApiError(
                401,
                "a key is needed, as `Authorization: Bearer KEY`; the one given, if any, is not known",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        elif int(headers.get(b"content-length", b"0")) > most:
            refusal = _too_long(most)
        else:
            return await self._app(scope, self._bounded(receive, most), send)
        await refusal.response()(scope, receive, send)

    def _bounded(self, receive: Receive, most: int) -> Receive:
        """`receive` that raises if the body is too long, or its next piece too late."""
        so_far, ended = 0, False

        async def bounded() -> Message:
            nonlocal so_far, ended
            if ended:  # waits for the end of the connection, which comes after the drawing
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._seconds)
            except TimeoutError:
                ended = True
                raise ApiError(408, "the request's body did not come in time", code="body_timeout") from None
            ended = not message.get("more_body", False)
            so_far += len(message.get("body", b""))
            if so_far > most:
                ended = True
                raise _too_long(most)
            return message

        return bounded


def _too_long(most: int) -> ApiError:
    return ApiError(
        413,
        f"the request's body is longer than {most} bytes",
        code="body_too_large",
        headers={"Connection": "close"},
    )
