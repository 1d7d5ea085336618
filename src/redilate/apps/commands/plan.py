"""`redilate plan`: what `redilate generate` would do at a size, and what that needs."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import files
from ..arguments import parse_size
from ..console import one_line_endings
from ..options import SIZE, Device, Dtype, Json, Model, Windows, load_pipeline

if TYPE_CHECKING:
    from redilate.generation.relay import Runner
    from redilate.plans.plan import Plan

# What `redilate generate` takes where nothing is said.
_STEPS, _GUIDANCE = 25, 5.0


def plan(
    size: Annotated[str, typer.Option(metavar="WxH", help=SIZE)],
    model: Model = None,
    preset: Annotated[
        Literal["default", "published"], typer.Option(help="What measures best, or the paper's settings.")
    ] = "default",
    windows: Windows = None,
    device: Device = None,
    dtype: Dtype = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the plan as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what `generate` would do at a size: its stages, the plan, block by block, and the memory that it needs."""
    with one_line_endings():
        width, height = parse_size(size)
        if output is not None:
            files.check_output(output, (".json",))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            import redilate

            pipe = load_pipeline(model, device=device, dtype=dtype, quiet=as_json)
            made = redilate.plan_for(pipe, width=width, height=height, preset=preset, windows=windows)
            before, after = ([], []) if as_json else _around(pipe, width, height, made, preset, windows)
        if output is not None:
            made.write(output)
        print(made.model_dump_json() if as_json else "\n".join([*before, str(made), *after]))


def _around(
    pipe: Any, width: int, height: int, made: Plan, preset: str, windows: float | None
) -> tuple[list[str], list[str]]:
    """What stands before the plan, how the picture would be drawn, and after it, what that needs."""
    from redilate.generation.fitting import fit
    from redilate.generation.modes import find_runner
    from redilate.pipelines.memory import TooLarge, memory_for

    size, runner = (height, width), None
    if (
        preset == "default"
    ):  # another plan is one that has to be given, and what is given is followed in one stage
        runner = find_runner(pipe, "auto", size, steps=_STEPS, guidance=_GUIDANCE, windows=windows)
    last = runner.legs[-1] if runner else None
    guided, noise = (last.guidance > 1, last.start.level) if last else (True, 1.0)
    after = [str(memory_for(pipe, width, height, plan=made, noise=noise, guided=guided))]
    first, own = (runner.start, None) if runner else (size, made)
    try:
        if fit(pipe, first, runner, guidance=_GUIDANCE, plan=own):
            after.append("guidance would go one sample at a time: the device holds it only so")
    except TooLarge as refusal:
        if refusal.offload:
            after.append("the networks would wait in the host's memory until each is needed: only so it fits")
        else:
            after.append(f"it would be refused: {refusal}")
    return _stages(runner, width, height, made), after


def _stages(runner: Runner | None, width: int, height: int, made: Plan) -> list[str]:
    if runner is None:
        return [f"in one stage: {width}x{height}, {_STEPS} steps"]
    rows = [f"as a relay: {runner.start[1]}x{runner.start[0]}, {_STEPS} steps"]
    for leg in runner.legs:
        guided = "" if leg.guidance > 1 else ", no guidance"
        count = len(leg.start.timesteps)
        rows.append(
            f"  then {leg.size[1]}x{leg.size[0]}, {count} {'step' if count == 1 else 'steps'} "
            f"from noise level {leg.start.level:.2g}{guided}"
        )
    dilated = set(made.dilations(runner.legs[-1].start.level).values()) - {(1.0, 1.0)}
    above = "" if dilated else " (it starts below where this ends: its convolutions run as trained)"
    return [*rows, f"the last stage's plan{above}:"]
