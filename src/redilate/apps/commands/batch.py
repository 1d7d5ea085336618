"""`redilate batch`: draw a file of prompts with several workers."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from redilate.errors import RedilateError

from .. import command_line
from ..metadata import picture_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

    from redilate.batch.batch import Tally
    from redilate.batch.tasks import Fault

# Shown failures; failures.jsonl has all.
_SHOWN = 20


@command_line.with_option_groups
def batch(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="A file of prompts: .txt, .csv, .jsonl or .parquet.")
    ],
    size: Annotated[
        str, typer.Option(metavar="WxH", help=f"{command_line.SIZE} A row's own width and height go first.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The folder of the pictures and their manifest."),
    ],
    count: Annotated[
        int, typer.Option(min=1, max=10_000, help="Pictures of each row, with seeds that follow one another.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="With each row's id it gives the row's seed.")
    ] = 0,
    model: command_line.Model = None,
    method: Annotated[
        str, typer.Option(help="redilate, direct, or any other way of drawing large.")
    ] = "redilate",
    strength: command_line.Strength = None,
    steps: command_line.Steps = 25,
    guidance: command_line.Guidance = None,
    negative: command_line.Negative = None,
    *,
    pipeline: command_line.PipelineOptions,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes with a model each; without it, one for each GPU or else CPU core."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each worker.")] = 1,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Draw on a Ray cluster: auto, host:port, ray://host:port or local."
        ),
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="At the end, also manifest.parquet.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but load and draw.")] = False,
    as_json: command_line.Json = False,
) -> None:
    """Draw every prompt of a file; run again, it draws what is missing."""
    started = time.monotonic()
    with command_line.one_line_endings():
        width, height = command_line.parse_size(size)
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            # Check everything that does not need the model's weights first.
            command_line.silence_libraries()
            from redilate.batch.batch import draw, draw_missing, survey
            from redilate.batch.store import MANIFEST, Store, model_fingerprint
            from redilate.batch.tasks import Defaults
            from redilate.pipelines.loading import check_addons, check_model
            from redilate.pipelines.schedulers import check_scheduler_name
            from redilate.rivals.registry import find

            from ..recorded_settings import read_settings

            find(method)
            check_model(model)
            check_addons(pipeline.vae, pipeline.lora or ())
            if ray_address is None:
                command_line.check_device(pipeline.device)
            if pipeline.scheduler is not None:
                check_scheduler_name(pipeline.scheduler)
            if parquet and find_spec("pyarrow") is None:
                raise RedilateError("--parquet needs pyarrow: pip install 'redilate[batch]'")
            settings = {
                "model": command_line.model_name(model),
                "weights": model_fingerprint(model),
                "method": method,
                "size": f"{width}x{height}",
                "steps": steps,
                "guidance": guidance,
                "strength": strength,
                "negative": negative,
                "seed": seed,
                "scheduler": pipeline.scheduler,
                "device": pipeline.device,
                "dtype": pipeline.dtype,
                **command_line.addon_names(pipeline),
            }
            defaults = Defaults(width, height, steps, guidance, negative, seed, strength, count)
            failed: set[int] = set()  # rows

            def show(fault: Fault) -> None:
                """Show the first failures, each row once."""
                if fault.row not in failed and len(failed) < _SHOWN:
                    command_line.say(f"row {fault.row}{f' ({fault.id})' if fault.id else ''}: {fault.cause}")
                failed.add(fault.row)

            with Store(out, settings, read_settings, writing=False) as store:
                tally = survey(prompts, defaults, store, show)
            if not dry_run:
                run, most = _runner(ray_address, workers, threads, pipeline.device)
                work = partial(
                    draw,
                    method=method,
                    model=command_line.model_name(model),
                    encode=png,
                    addons=command_line.addon_names(pipeline),
                )
                make_pipe = partial(pipeline.load, model, quiet=True)
                todo = tally.missing
                with (
                    Store(out, settings, read_settings) as store,
                    command_line.progress(Console(stderr=True, quiet=as_json)) as on_step,
                ):
                    tally = draw_missing(
                        prompts,
                        defaults,
                        store,
                        lambda tasks: run(tasks, make_pipe, work),
                        most,
                        on_done=lambda tally: on_step(tally.drawn, todo),
                        on_fault=show,
                    )
                    if parquet:
                        store.write_parquet()
        _report(tally, out / MANIFEST, time.monotonic() - started, dry_run, as_json)
        if tally.failed:
            hidden = f", {len(failed) - _SHOWN} of them not shown" if len(failed) > _SHOWN else ""
            command_line.say(
                f"{len(failed)} failed{hidden}; failures.jsonl in the folder of a run lists them"
            )
            raise typer.Exit(command_line.FAILED)


def png(image: Image, settings: Mapping[str, Any]) -> bytes:
    """The bytes of a PNG with its settings inside."""
    return picture_bytes(image, "PNG", settings)


def _runner(
    ray_address: str | None, workers: int | None, threads: int, device: str | None
) -> tuple[Callable[..., Any], int]:
    """The function that runs tasks (processes of this machine or Ray), and how many of a row are drawn together."""
    from redilate.generation.resolve import BATCH_ON_GPU

    if ray_address is not None:
        from redilate.batch.ray import run_on_ray

        run = partial(run_on_ray, address=ray_address, workers=workers, threads=threads, device=device)
        return run, 1 if device == "cpu" else BATCH_ON_GPU
    from redilate.batch.local import run

    devices = command_line.worker_devices(device)
    import torch

    on_cpu = device == "cpu" or (device is None and not torch.accelerator.is_available())
    if workers is None:
        workers = max(1, command_line.cores() // threads) if on_cpu else len(devices)
    return partial(run, workers=workers, threads=threads, devices=devices), 1 if on_cpu else BATCH_ON_GPU


def _report(tally: Tally, manifest: Path, seconds: float, dry_run: bool, as_json: bool) -> None:
    """Print the result: the manifest's path or one JSON object on stdout, a summary on stderr."""
    counts = asdict(tally)
    if as_json:
        print(json.dumps(counts | {"seconds": round(seconds, 3), "manifest": str(manifest)}))
        return
    if not dry_run:
        print(manifest)
    print(
        ", ".join(f"{count} {name}" for name, count in counts.items()) + f", {seconds:.1f} s", file=sys.stderr
    )
