"""Serving until a signal, on loopback by default; at shutdown the current picture is finished."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from redilate.errors import RedilateError

from .app import create_app
from .guard import Keys
from .service import Service

log = logging.getLogger("redilate.server")

# Connections at once.
_CONNECTIONS = 512


def check_host(host: str, keys: Keys, insecure: bool) -> None:
    """RedilateError for a host that other machines can reach, without keys or `insecure`."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not (keys or insecure or loopback):
        raise RedilateError(
            f"host {host!r} lets others than this machine in, and there are no keys: set REDILATE_API_KEYS or "
            "--api-key-file, or say --insecure"
        )


def check_origins(origins: Sequence[str]) -> None:
    """RedilateError for an origin that no browser sends: other than `*` or `scheme://host[:port]`."""
    for origin in origins:
        parts = urlsplit(origin)
        bare = parts.scheme and parts.netloc and origin == f"{parts.scheme}://{parts.netloc}".lower()
        if origin != "*" and not bare:
            raise RedilateError(
                f"origin {origin!r} is not of the form scheme://host or scheme://host:port, in small letters and "
                "without a path; https://example.com, for example, works, and * lets all in"
            )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; RedilateError if the address is not this machine's or the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except OSError as error:
        raise RedilateError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


class Server(uvicorn.Server):
    """uvicorn's server; at shutdown it refuses waiting requests and finishes the one being drawn."""

    def __init__(self, service: Service):
        self.service = service
        config = uvicorn.Config(
            create_app(service),
            limit_concurrency=_CONNECTIONS,
            # More than the grace, after which the client gets an answer; uvicorn would only cut it off.
            timeout_graceful_shutdown=int(service.limits.grace) + 5,
            server_header=False,
            log_config=_logging(),
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called after a signal."""
        thread, grace = self.service.thread, self.service.limits.grace
        drawing, cancelled = thread.busy, False

        def give_up() -> None:
            nonlocal cancelled
            if cancelled := thread.cancel_running():
                told = "the one being drawn was not done within %g s: cancelled, and answered with 503"
                log.warning(told, grace)

        waiting = thread.drain()
        log.info("shutting down: %d being drawn, %d waiting and turned away with 503", int(drawing), waiting)
        ending = asyncio.get_running_loop().call_later(grace, give_up)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
        if drawing and not thread.busy and not cancelled:
            log.info("the one being drawn was finished")


def run(server: Server, listening: socket.socket) -> None:
    """Serve on a listening socket until SIGTERM or SIGINT, and return after the shutdown."""
    for one in (signal.SIGTERM, signal.SIGINT):
        # While uvicorn runs, its own handlers hold; at its end it raises the signal again.
        signal.signal(one, lambda *_: None)
    server.run(sockets=[listening])


def _logging() -> dict:
    """uvicorn's logging and ours, all on stderr."""
    handlers = LOGGING_CONFIG["handlers"].items()
    ours = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return LOGGING_CONFIG | {
        "handlers": {name: handler | {"stream": "ext://sys.stderr"} for name, handler in handlers},
        "loggers": LOGGING_CONFIG["loggers"] | {"redilate.server": ours, "redilate.drawing": ours},
    }
