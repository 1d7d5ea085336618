"""`redilate evaluate`: draw the same prompts by several methods, and measure them."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from redilate.errors import RedilateError

from .. import command_line
from ..metadata import check_folder

if TYPE_CHECKING:
    from redilate.evaluation.tasks import Variation


def evaluate(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where pictures and results go; made if missing."),
    ],
    sizes: Annotated[
        str, typer.Option(metavar="WxH,…", help="Sizes in pixels, multiples of 8, separated by commas.")
    ] = "512x512",
    methods: Annotated[
        str,
        typer.Option(metavar="NAME,…", help="By name; the others are compared with the first."),
    ] = "direct,redilate",
    variation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="One more method: `generate` with the arguments in a JSON file, or in JSON in place of FILE, such "
            "as 'low={\"strength\": 0.3}'. Repeatable.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One prompt in each line; only the bundled model has its own."),
    ] = None,
    count: Annotated[
        int,
        typer.Option(min=1, help="How many pictures of each method; picture k is of prompt k, with seed k."),
    ] = 64,
    model: command_line.Model = None,
    steps: command_line.Steps = 25,
    guidance: command_line.Guidance = None,
    real: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Real pictures to compare with: FOLDER/WxH/* of that size, or larger ones in FOLDER.",
        ),
    ] = None,
    device: command_line.Device = None,
    dtype: command_line.Dtype = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes that draw, with a model each; 0: this one. On a CPU, more than 1 slow one another.",
        ),
    ] = 0,
    as_json: command_line.Json = False,
) -> None:
    """Draw each prompt natively and, by each method, at each size; measure, and write tables, plots and one page.

    Needs the extra `eval`. Pictures that are there are not made again: the same command goes on where a killed one was.
    """
    with command_line.one_line_endings():
        from redilate.evaluation.inputs import BUNDLED, check_installed, read_prompts

        if prompts is None and model is not None:
            raise RedilateError(
                f"--prompts is needed with --model {model}: the list that comes with Redilate is for its bundled model"
            )
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            # The heavy libraries after the checks that need none.
            listed = read_prompts(prompts or BUNDLED)
            shapes = [command_line.parse_size(text) for text in _items(sizes)]
            command_line.silence_libraries()
            from redilate.batch.local import run
            from redilate.evaluation.run import run_study
            from redilate.evaluation.tasks import Study

            asked = Study(
                prompts=listed,
                sizes=shapes,
                count=count,
                methods=_items(methods),
                variations=dict(_variations(variation)),
                steps=steps,
                guidance=guidance,
                real=real,
            )
            asked.check()
            check_installed()
            check_folder(out)
            pipe = command_line.PipelineOptions(device=device, dtype=dtype).load(model, quiet=as_json)
            with _bars(quiet=as_json) as on_progress:
                drawers = None  # this process draws
                if workers:
                    drawers = partial(
                        run,
                        make_pipe=partial(command_line.PipelineOptions(dtype=dtype).load, model, quiet=True),
                        workers=workers,
                        threads=max(1, command_line.cores() // workers),  # they share the cores
                        devices=command_line.worker_devices(device),
                    )
                results = run_study(asked, pipe, out, command_line.model_name(model), on_progress, drawers)
        if as_json:
            print(json.dumps({"page": str(out / "results.html"), "settings": results.settings}))
        else:
            for row in results.rows:
                values = row.values
                print(
                    f"{row.size} {row.method}: {values['repeated'].value:.0%} repeated, "
                    f"feature distance {values['feature_distance'].value:.3f}, {values['seconds'].value:.1f} s"
                )
            print(out / "results.html")


def _items(text: str) -> list[str]:
    return list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


def _variations(texts: list[str] | None) -> Iterator[tuple[str, Variation]]:
    """The names and arguments of `--variation`."""
    from pydantic import ValidationError

    from redilate.evaluation.tasks import Variation

    for text in texts or []:
        name, separator, what = text.partition("=")
        if not separator or not name or not what:
            raise RedilateError(f"--variation {text!r} is not of the form NAME=FILE")
        if not what.lstrip().startswith("{"):
            yield name, Variation.read(Path(what))
            continue
        try:
            yield name, Variation.model_validate_json(what)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "it"
            raise RedilateError(f"--variation {name}: {place}: {first['msg']}") from error


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Callable[[str, str, float, int], None]]:
    """A progress bar on stderr for drawing, measuring and reporting; none without a terminal."""
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, quiet=quiet)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        stages = {}

        def on_progress(stage: str, what: str, done: float, total: int) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(what, total=total)
            bar.update(stages[stage], description=what, completed=done)

        yield on_progress
