"""`redilate web`: the page."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import Annotated

import typer

from redilate.errors import RedilateError

from .. import command_line

# What the bundled model draws best.
_BUNDLED_PROMPTS = ("a red apple", "a cactus", "a grinning face", "a strawberry")


@command_line.with_option_groups
def web(
    model: command_line.Model = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 opens the page to the whole network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    *,
    pipeline: command_line.PipelineOptions,
) -> None:
    """Open a page to draw on, in a browser on this machine; needs the extra `web`."""
    with command_line.one_line_endings(), contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
        try:
            from ..web.server import serving
        except ModuleNotFoundError as error:
            if error.name != "gradio":
                raise
            raise RedilateError("the page needs Gradio; pip install 'redilate[web]' brings it") from error
        pipe = pipeline.load(model)
        with serving(
            pipe,
            command_line.model_name(model),
            host=host,
            port=port,
            examples=_BUNDLED_PROMPTS if model is None else (),
            options=pipeline,
        ) as address:
            # Service managers end it by SIGTERM, and shells start background processes with SIGINT ignored.
            for one in (signal.SIGTERM, signal.SIGINT):
                signal.signal(one, signal.default_int_handler)
            print(f"Redilate is at {address} (Ctrl-C ends it)", file=sys.stderr)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
