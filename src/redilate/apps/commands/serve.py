"""`redilate serve`: OpenAI's images API."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from typer import Option

from redilate.errors import RedilateError

from .. import command_line
from ..server.limits import Limits

# Modules of the extra `serve`.
_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


@command_line.with_option_groups
def serve(
    host: Annotated[str, Option(help="Where to listen; beyond this machine, keys are needed.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    model: command_line.Model = None,
    api_key_file: Annotated[
        Path | None,
        Option(metavar="FILE", help="Keys, one a line; also in REDILATE_API_KEYS, between commas."),
    ] = None,
    served_model_name: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="What the model may be called too, for clients that have a name built in; may be given several times.",
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        Option(
            metavar="ORIGIN",
            help="Whose web pages may use it from a browser: https://example.com, or * for all; may be given several "
            "times.",
        ),
    ] = None,
    insecure: Annotated[bool, Option("--insecure", help="Let a network in without keys.")] = False,
    *,
    limits: Limits,
    pipeline: command_line.PipelineOptions,
) -> None:
    """Serve pictures over HTTP in the words of OpenAI's images API; needs the extra `serve`."""
    with command_line.one_line_endings():
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise RedilateError(f"{missing[0]} is not installed: pip install 'redilate[serve]'")
        from ..server.guard import read_keys
        from ..server.run import Server, check_host, check_origins, listen, run
        from ..server.service import Service

        keys = read_keys(api_key_file)
        check_host(host, keys, insecure)
        check_origins(cors or [])
        with listen(host, port) as socket:
            pipe = pipeline.load(model)
            service = Service(pipe, model, limits, keys, served_model_name or (), cors or (), pipeline)
            place, bound = f"[{host}]" if ":" in host else host, socket.getsockname()[1]
            print(f"{service.names[0]} is served at http://{place}:{bound}/v1", file=sys.stderr, flush=True)
            run(Server(service), socket)
