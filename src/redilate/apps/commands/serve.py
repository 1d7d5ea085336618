"""`redilate serve`: OpenAI's images API."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from typer import Option

from redilate.errors import RedilateError

from .. import command_line

# Modules of the extra `serve`.
_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


@command_line.with_pipeline_options
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
    max_megapixels: Annotated[float, Option(min=0.001, help="Of one picture.")] = 4.2,
    max_count: Annotated[int, Option(min=1, max=10, help="Pictures of one request.")] = 4,
    max_steps: Annotated[int, Option(min=1, help="Denoising steps of one picture.")] = 100,
    max_upload: Annotated[float, Option(min=0.001, help="Megabytes of a picture sent in.")] = 20.0,
    queue: Annotated[int, Option(min=0, help="Requests that may wait; further ones are told 429.")] = 16,
    timeout: Annotated[float, Option(min=0.1, help="Seconds from a request to its answer.")] = 600.0,
    grace: Annotated[float, Option(min=0, help="Seconds to finish a picture in at the end.")] = 30.0,
    *,
    pipeline: command_line.PipelineOptions,
) -> None:
    """Serve pictures over HTTP in the words of OpenAI's images API; needs the extra `serve`."""
    with command_line.one_line_endings():
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise RedilateError(f"{missing[0]} is not installed: pip install 'redilate[serve]'")
        from ..server.guard import read_keys
        from ..server.run import Server, check_host, check_origins, listen, run
        from ..server.service import Limits, Service

        keys = read_keys(api_key_file)
        check_host(host, keys, insecure)
        check_origins(cors or [])
        limits = Limits(
            megapixels=max_megapixels,
            count=max_count,
            steps=max_steps,
            upload_megabytes=max_upload,
            queue=queue,
            timeout=timeout,
            grace=grace,
        )
        with listen(host, port) as socket:
            pipe = pipeline.load(model)
            service = Service(pipe, model, limits, keys, served_model_name or (), cors or ())
            place, bound = f"[{host}]" if ":" in host else host, socket.getsockname()[1]
            print(f"{service.names[0]} is served at http://{place}:{bound}/v1", file=sys.stderr, flush=True)
            run(Server(service), socket)
