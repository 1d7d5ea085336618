"""The ASGI application: the routes, the guard in front of them, and /openapi.json."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware

from redilate import __version__

from . import errors
from .guard import Guard
from .routes import routes
from .service import Service


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
    errors.install(app)
    app.include_router(routes(service))
    app.add_middleware(Guard, keys=service.keys, limits=service.limits)
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
