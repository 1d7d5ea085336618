"""`redilate plan`: which convolutions would be dilated at a size, how far, until which noise level."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import files
from ..arguments import parse_size
from ..console import one_line_endings
from ..options import SIZE, Json, Model, Windows, load_pipeline


def plan(
    size: Annotated[str, typer.Option(metavar="WxH", help=SIZE)],
    model: Model = None,
    preset: Annotated[
        Literal["default", "published"], typer.Option(help="What measures best, or the paper's settings.")
    ] = "default",
    windows: Windows = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the plan as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the plan for a model and a size, block by block, and the memory that the size needs."""
    with one_line_endings():
        width, height = parse_size(size)
        if output is not None:
            files.check_output(output, (".json",))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            import redilate

            pipe = load_pipeline(model, device="cpu", quiet=as_json)
            from redilate.pipelines.memory import memory_for

            made = redilate.plan_for(pipe, width=width, height=height, preset=preset, windows=windows)
            memory = None if as_json else memory_for(pipe, width, height)
        if output is not None:
            made.write(output)
        print(made.model_dump_json() if as_json else made)
        if memory is not None:
            print(memory)
