"""API keys, and the middleware that checks them and bounds bodies before any of a body is read."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redilate.errors import RedilateError

from .errors import ApiError

_VARIABLE = "REDILATE_API_KEYS"
_SHORTEST = 8
# Paths without a key; the names of files cannot be guessed.
_OPEN = ("/healthz", "/openapi.json", "/v1/files/")
# Bytes: enough for two prompts of 32,000 escaped characters.
_FIELDS = 2**20
_EDITS = "/v1/images/edits"


class Keys:
    """The server's keys; without any, everybody may use it.

    Only hashes are kept, all of one length, so that comparisons take constant time.
    """

    def __init__(self, keys: Iterable[str] = ()):
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def open_to(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` header is `Bearer` and one of the keys."""
        if not self:
            return True
        scheme, _, key = (authorization or b"").partition(b" ")
        given = sha256(key.strip()).digest()
        # All are compared, so that the time does not tell which one matched.
        matches = [hmac.compare_digest(given, one) for one in self._hashes]
        return scheme.lower() == b"bearer" and any(matches)


def read_keys(file: Path | None) -> Keys:
    """The keys in `file`, one a line (`#` starts a comment), and in REDILATE_API_KEYS, separated by commas."""
    found = [key.strip() for key in os.environ.get(_VARIABLE, "").split(",")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RedilateError(f"cannot read the keys in {str(file)!r}: {error}") from error
        in_file = [line.partition("#")[0].strip() for line in lines]
        if not any(in_file):
            raise RedilateError(f"there is no key in {str(file)!r}; it has one on each line")
        found += in_file
    keys = [key for key in found if key]
    if short := [key for key in keys if len(key) < _SHORTEST]:
        raise RedilateError(
            f"a key of {len(short[0])} characters is too easily guessed; {_SHORTEST} is the least, 32 better"
        )
    return Keys(keys)


class Guard:
    """ASGI middleware: 401 without a key, 413 for a too long body, 408 for one that does not arrive.

    An uploaded picture has at most `upload` bytes; the next piece of a body must arrive within `seconds`.
    """

    def __init__(self, app: ASGIApp, keys: Keys, upload: int, seconds: float):
        self._app, self._keys, self._upload, self._seconds = app, keys, upload, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        most = _FIELDS + (self._upload if scope["path"] == _EDITS else 0)
        if not scope["path"].startswith(_OPEN) and not self._keys.open_to(headers.get(b"authorization")):
            told = "a key is needed, as `Authorization: Bearer KEY`; the one given, if any, is not known"
            refusal = ApiError(401, "invalid_api_key", told, headers={"WWW-Authenticate": "Bearer"})
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
                late = "the request's body did not come in time"
                raise ApiError(408, "body_timeout", late) from None
            ended = not message.get("more_body", False)
            so_far += len(message.get("body", b""))
            if so_far > most:
                ended = True
                raise _too_long(most)
            return message

        return bounded


def _too_long(most: int) -> ApiError:
    told = f"the request's body is longer than {most} bytes"
    return ApiError(413, "body_too_large", told, headers={"Connection": "close"})
