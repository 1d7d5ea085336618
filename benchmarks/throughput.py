"""Pictures per minute of `redilate batch` by the number of workers, loading and drawing apart.

python -m benchmarks.throughput --workers 1,2 --count 16
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from redilate.apps.command_line import PipelineOptions
from redilate.apps.commands.batch import png
from redilate.batch.batch import draw
from redilate.batch.local import run
from redilate.batch.tables import read_rows
from redilate.batch.tasks import Defaults, Task, tasks_of
from redilate.evaluation.inputs import BUNDLED, read_prompts


def load_bundled(device: str | None):
    """The bundled model, in a worker."""
    return PipelineOptions().load(None, device, quiet=True)


def main(
    workers: Annotated[str, typer.Option(help="Numbers of worker processes, separated by commas.")] = "1,2",
    count: Annotated[int, typer.Option(min=2, help="How many pictures with each.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="Of each worker.")] = 1,
    prompts: Annotated[Path, typer.Option(help="Where the prompts are from.")] = BUNDLED,
) -> None:
    """Draw `count` pictures at 256×256 with each number of workers; print a table."""
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder, "few.txt")
        lines = read_prompts(prompts)
        few.write_text("\n".join(f"{lines[k % len(lines)]} {k}" for k in range(count)))
        tasks = [
            (task,)
            for task in tasks_of(read_rows(few), Defaults(256, 256, steps, 3.0))
            if isinstance(task, Task)
        ]
    work = partial(draw, method="direct", model="bundled", encode=png)
    print("| workers | s until the first picture | pictures per minute after it |\n|---|---|---|")
    for number in map(int, workers.split(",")):
        started = time.monotonic()
        ends = [
            time.monotonic() - started
            for outcome in run(tasks, load_bundled, work, workers=number, threads=threads)
            if outcome.result is not None
        ]
        rate = 60 * (len(ends) - 1) / (ends[-1] - ends[0])
        print(f"| {number} | {ends[0]:.1f} | {rate:.1f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
