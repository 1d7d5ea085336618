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
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(status, message, dict(headers or {}))
        self.code, self.param = code, param

    @property
    def body(self) -> dict[str, Any]:
        """The body's JSON."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        usual = "server_error" if self.status_code >= 500 else "invalid_request_error"
        kind = kinds.get(self.status_code, usual)
        detail = ErrorDetail(message=self.detail, type=kind, param=self.param, code=self.code)
        return ErrorBody(error=detail).model_dump()

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, self.status_code, self.headers)


def invalid(param: str, message: str) -> ApiError:
    """400 for a parameter."""
    return ApiError(400, f"{param}: {message}", code="invalid_value", param=param)


def shutting_down() -> ApiError:
    """503, during a shutdown."""
    return ApiError(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "30"})


def from_validation(errors: Sequence[Any], status: int = 400) -> ApiError:
    """The first of pydantic's errors, with its parameter's name."""
    first = errors[0]
    if first["type"] == "json_invalid":
        cause = first.get("ctx", {}).get("error", first["msg"])
        where = f" at character {first['loc'][-1]}" if first["loc"] else ""
        return ApiError(status, f"the body is not JSON{where}: {cause}", code="invalid_value")
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = ".".join(place[:3])[:100] or None
    if first["type"] == "extra_forbidden":
        return ApiError(status, f"unknown parameter {param!r}", code="unknown_parameter", param=param)
    missing = first["type"] == "missing"
    message = " ".join(str(first["msg"]).split())[:300]
    return ApiError(
        status,
        f"{param}: {message}" if param else message,
        code="missing_required_parameter" if missing else "invalid_value",
        param=param,
    )


def from_failure(error: BaseException) -> ApiError:
    """The answer to an error while drawing; details are in the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Cancelled):
        return shutting_down()
    if isinstance(error, QueueFull):
        retry = {"Retry-After": str(error.seconds)}
        return ApiError(429, str(error), code="queue_full", headers=retry)
    if isinstance(error, RedilateError):
        return ApiError(400, str(error), code="invalid_value")
    if out_of_memory(error):
        return ApiError(
            503, "out of memory; a smaller size needs less", code="out_of_memory", headers=NO_RETRY
        )
    return ApiError(500, "the picture could not be drawn; the server's log says why", code="internal_error")


def install(app: FastAPI) -> None:
    """Give every error of `app` this form."""

    async def known(_: Request, error: Exception) -> JSONResponse:
        return from_failure(error).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        codes = {404: "not_found", 405: "method_not_allowed"}
        return ApiError(
            error.status_code, error.detail, code=codes.get(error.status_code), headers=error.headers
        ).response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return from_validation(error.errors()).response()

    app.add_exception_handler(ApiError, known)
    app.add_exception_handler(RedilateError, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, known)
