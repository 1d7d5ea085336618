"""`redilate plan`: what `redilate generate` would do at a size, and its memory."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

from typer import Option

import redilate

from .. import command_line
from ..metadata import check_output


def plan(
    size: Annotated[str, Option(metavar="WxH", help=command_line.SIZE)],
    strength: command_line.Strength = None,
    model: command_line.Model = None,
    preset: command_line.UsedPreset = "default",
    steps: command_line.Steps = 25,
    guidance: command_line.Guidance = None,
    windows: command_line.Windows = None,
    device: command_line.Device = None,
    dtype: command_line.Dtype = None,
    output: Annotated[
        Path | None, Option("--output", "-o", metavar="FILE", help="Also write the last leg's plan as JSON.")
    ] = None,
    as_json: command_line.Json = False,
) -> None:
    """Show what `generate` would do at a size: its legs, the last one's plan, block by block, and its memory."""
    with command_line.one_line_endings():
        width, height = command_line.parse_size(size)
        if output is not None:
            check_output(output, (".json",))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            from redilate.pipelines.memory import memory_for

            pipe = command_line.PipelineOptions(device=device, dtype=dtype).load(model, quiet=as_json)
            drawing = redilate.resolve(
                pipe,
                redilate.Request(
                    prompt="",
                    width=width,
                    height=height,
                    steps=steps,
                    guidance=guidance,
                    strength=strength,
                    preset=preset,
                    windows=windows,
                ),
            )
            last = drawing.legs[-1]
            made = last.plan or redilate.Plan()
            need = "" if as_json else str(memory_for(pipe, width, height, guided=last.guidance > 1))
        if output is not None:
            made.write(output)
        if as_json:
            print(json.dumps(drawing.as_json() | {"notes": list(drawing.notes)}))
        else:
            print("\n".join([str(drawing), "the last leg's plan:", str(made), need]))
