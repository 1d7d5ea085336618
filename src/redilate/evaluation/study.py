"""The command that draws and counts: `python -m redilate.evaluation.study --help`."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import diffusers
import transformers
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

from ..errors import RedilateError
from ..pipelines.loading import load
from ..plans.plan import Plan
from .run import OnProgress, Study, run_study

BUNDLED = "bundled"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    prompts: Annotated[
        Path, typer.Option(help="A text file with one prompt in each line; # starts a comment.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, study.json, study.md and the sheets.")],
    model: Annotated[
        str, typer.Option(help="A folder, file or hub name; 'bundled': the small model.")
    ] = BUNDLED,
    sizes: Annotated[str, typer.Option(help="WxH in pixels, several separated by commas.")] = "512x512",
    methods: Annotated[
        str, typer.Option(help="direct, redilate; the first is the baseline.")
    ] = "direct,redilate",
    plan: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PLAN.json", help="One more method: this plan. Repeatable."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many prompts; prompt k has seed k.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 25,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance weight.")] = 5.0,
) -> None:
    """Draw each prompt at native size and, by each method, at each size; count objects and compare.

    The same command goes on where a killed one was. Pictures that are there are not made again.
    """
    try:
        asked = Study(
            prompts=read_prompts(prompts),
            sizes=[_size(text) for text in _items(sizes)],
            count=count,
            methods=_items(methods),
            plans=dict(map(_named_plan, plan or [])),
            steps=steps,
            guidance=guidance,
        )
        asked.check()
        _check_writable(out)
        _silence_libraries()
        pipe = load(None if model == BUNDLED else model)
        with _bar() as on_progress:
            rows = run_study(asked, pipe, out, Path(model).name, on_progress)
    except RedilateError as error:
        print(f"study: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        print("study: interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from error
    for row in rows:
        print(
            f"{row.size} {row.method}: {row.repeated.mean:.0%} repeated, distance {row.feature_distance.mean:.3f}"
        )
    print(out / "study.md")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, in order; RedilateError if it cannot be read or has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RedilateError(f"cannot read the prompts in {path}: {error}") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise RedilateError(f"{path} has no prompts; one in each line is needed")
    return prompts


def _items(text: str) -> list[str]:
    return list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if match is None:
        raise RedilateError(f"size {text!r} is not of the form WxH; 1024x768, for example, works")
    return int(match[1]), int(match[2])


def _named_plan(text: str) -> tuple[str, Plan]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise RedilateError(f"--plan {text!r} is not of the form NAME=PLAN.json")
    return name, Plan.read(path)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RedilateError(f"cannot write to {folder}: {error.strerror}") from error


def _silence_libraries() -> None:
    """Keep the libraries' bars, advice and warnings from tearing this command's own bar."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


@contextmanager
def _bar() -> Iterator[OnProgress]:
    """A bar on stderr that starts afresh for each stage: drawing, then measuring."""
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        stages = {}

        def on_progress(stage: str, what: str, done: float, total: int) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(what, total=total)
            bar.update(stages[stage], description=what, completed=done)

        yield on_progress


if __name__ == "__main__":
    app()
