"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from redilate.errors import RedilateError

from ..drawing_thread import Cancelled, QueueFull, out_of_memory

# OpenAI's clients do not retry an answer with this header.
NO_RETRY = {"x-should-retry": "false"}
_KINDS = {401: "authentication_error", 429: "rate_limit_error"}
_CODES = {404: "not_found", 405: "method_not_allowed"}


class ErrorDetail(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer from 400 up."""

    error: ErrorDetail


class ApiError(HTTPException):
    """An answer with a status from 400 up."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(status, message, headers)
        kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, self.status_code, self.headers)


def invalid(param: str, message: str) -> ApiError:
    """400 for a parameter."""
    return ApiError(400, "invalid_value", f"{param}: {message}", param)


def from_validation(errors: Sequence[Any]) -> ApiError:
    """400 for the first of pydantic's errors."""
    first = errors[0]
    if first["type"] == "json_invalid":
        cause = first.get("ctx", {}).get("error", first["msg"])
        where = f" at character {first['loc'][-1]}" if first["loc"] else ""
        return ApiError(400, "invalid_value", f"the body is not JSON{where}: {cause}")
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = ".".join(place[:3])[:100] or None
    if first["type"] == "extra_forbidden":
        return ApiError(400, "unknown_parameter", f"unknown parameter {param!r}", param)
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    message = " ".join(str(first["msg"]).split())[:300]
    return ApiError(400, code, f"{param}: {message}" if param else message, param)


def answer_to(error: BaseException) -> ApiError:
    """What a client is told of an error; the log has the rest."""
    match error:
        case ApiError():
            return error
        case HTTPException():
            code = _CODES.get(error.status_code)
            return ApiError(error.status_code, code, error.detail, headers=error.headers)
        case RequestValidationError():
            return from_validation(error.errors())
        case Cancelled():
            told = "the server is shutting down"
            return ApiError(503, "shutting_down", told, headers={"Retry-After": "30"})
        case QueueFull():
            return ApiError(429, "queue_full", str(error), headers={"Retry-After": str(error.seconds)})
        case RedilateError():
            return ApiError(400, "invalid_value", str(error))
    if out_of_memory(error):
        message = "out of memory; a smaller size needs less"
        return ApiError(503, "out_of_memory", message, headers=NO_RETRY)
    return ApiError(500, "internal_error", "the picture could not be drawn; the server's log says why")


def install(app: FastAPI) -> None:
    """Answer every error of `app` in this form."""

    async def answer(_: Request, error: Exception) -> JSONResponse:
        return answer_to(error).response()

    for kind in (HTTPException, RequestValidationError, RedilateError, Cancelled, Exception):
        app.add_exception_handler(kind, answer)
