"""`redilate batch`: draw a file of prompts, with as many workers as there are."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from redilate.errors import RedilateError

from ..command_line import (
    FAILED,
    SIZE,
    Device,
    Dtype,
    Guidance,
    Json,
    Lora,
    Model,
    Negative,
    OffloadTo,
    Scheduler,
    Steps,
    Strength,
    Vae,
    check_device,
    lora_name,
    model_name,
    one_line_endings,
    parse_size,
    progress,
    say,
    silence_libraries,
)
from ..metadata import picture_bytes, read_settings
from ..workers import cores, worker_devices, worker_pipe

if TYPE_CHECKING:
    from PIL.Image import Image

    from redilate.batch.batch import Tally
    from redilate.batch.tasks import Fault

# So many failures are shown; all of them are in failures.jsonl.
_SHOWN = 20


def batch(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="A file of prompts: .txt, .csv, .jsonl or .parquet.")
    ],
    size: Annotated[str, typer.Option(metavar="WxH", help=f"{SIZE} A row's own width and height go first.")],
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
    model: Model = None,
    method: Annotated[
        str, typer.Option(help="redilate, direct, or any other way of drawing large.")
    ] = "redilate",
    strength: Strength = None,
    steps: Steps = 25,
    guidance: Guidance = None,
    negative: Negative = None,
    scheduler: Scheduler = None,
    device: Device = None,
    dtype: Dtype = None,
    vae: Vae = None,
    lora: Lora = None,
    offload: OffloadTo = None,
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
    as_json: Json = False,
) -> None:
    """Draw every prompt of a file; run again, it draws what is missing."""
    started = time.monotonic()
    with one_line_endings():
        width, height = parse_size(size)
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            settings = {
                "model": model_name(model),
                "weights": _check(
                    model, vae, lora, method, scheduler, None if ray_address else device, parquet
                ),
                "method": method,
                "size": f"{width}x{height}",
                "steps": steps,
                "guidance": guidance,
                "strength": strength,
                "negative": negative,
                "seed": seed,
                "scheduler": scheduler,
                "device": device,
                "dtype": dtype,
                **({} if vae is None else {"vae": model_name(vae)}),
                **({} if not lora else {"lora": [lora_name(one) for one in lora]}),
            }
            from redilate.batch.batch import draw_missing, survey
            from redilate.batch.draw import draw
            from redilate.batch.store import MANIFEST, Store
            from redilate.batch.tasks import Defaults

            defaults = Defaults(width, height, steps, guidance, negative, seed, strength, count)
            shown = _Failures()
            with Store(out, settings, read_settings, writing=False) as store:
                tally = survey(prompts, defaults, store, shown)
            if not dry_run:
                run, most = _runner(ray_address, workers, threads, device)
                work = partial(draw, method=method, model=model_name(model), encode=png)
                make_pipe = partial(worker_pipe, model, dtype, scheduler, vae=vae, lora=lora, offload=offload)
                todo = tally.missing
                with (
                    Store(out, settings, read_settings) as store,
                    progress(Console(stderr=True, quiet=as_json)) as on_step,
                ):
                    tally = draw_missing(
                        prompts,
                        defaults,
                        store,
                        lambda tasks: run(tasks, make_pipe, work),
                        most,
                        on_done=lambda tally: on_step(tally.drawn, todo),
                        on_fault=shown,
                    )
                    if parquet:
                        store.write_parquet()
        _report(tally, out / MANIFEST, time.monotonic() - started, dry_run, as_json)
        if tally.failed:
            say(shown.summary())
            raise typer.Exit(FAILED)


def png(image: Image, settings: Mapping[str, Any]) -> bytes:
    """The bytes of a PNG with its settings inside."""
    return picture_bytes(image, "PNG", settings)


def _check(
    model: str | None,
    vae: str | None,
    lora: list[str] | None,
    method: str,
    scheduler: str | None,
    device: str | None,
    parquet: bool,
) -> str | None:
    """Refuse what can be refused without the model's weights; gives the fingerprint of its files."""
    silence_libraries()
    from importlib.util import find_spec

    from redilate.batch.fingerprint import model_fingerprint
    from redilate.pipelines.loading import check_addons, check_model
    from redilate.pipelines.schedulers import check_scheduler_name
    from redilate.rivals.registry import find

    find(method)
    check_model(model)
    check_addons(vae, lora or ())
    check_device(device)
    if scheduler is not None:
        check_scheduler_name(scheduler)
    if parquet and find_spec("pyarrow") is None:
        raise RedilateError("--parquet needs pyarrow: pip install 'redilate[batch]'")
    return model_fingerprint(model)


def _runner(
    ray_address: str | None, workers: int | None, threads: int, device: str | None
) -> tuple[Callable[..., Any], int]:
    """What runs tasks, the processes of this machine or a Ray cluster; and how many of a row are drawn together."""
    from redilate.generation.resolve import BATCH_ON_GPU

    if ray_address is not None:
        from redilate.batch.ray import run_on_ray

        run = partial(run_on_ray, address=ray_address, workers=workers, threads=threads, device=device)
        return run, 1 if device == "cpu" else BATCH_ON_GPU
    from redilate.batch.local import run

    devices = worker_devices(device)
    import torch

    on_cpu = device == "cpu" or (device is None and not torch.accelerator.is_available())
    if workers is None:
        workers = max(1, cores() // threads) if on_cpu else len(devices)
    return partial(run, workers=workers, threads=threads, devices=devices), 1 if on_cpu else BATCH_ON_GPU


class _Failures:
    """Shows the first failures as they come, and counts all; a row that was shown before the drawing is not again."""

    def __init__(self) -> None:
        self._count = 0
        self._rows: set[int] = set()

    def __call__(self, fault: Fault) -> None:
        if fault.row in self._rows:
            return
        self._rows.add(fault.row)
        self._count += 1
        if self._count <= _SHOWN:
            named = f" ({fault.id})" if fault.id else ""
            say(f"row {fault.row}{named}: {fault.cause}")

    def summary(self) -> str:
        """One line about all of them."""
        hidden = f", {self._count - _SHOWN} of them not shown" if self._count > _SHOWN else ""
        return f"{self._count} failed{hidden}; failures.jsonl in the folder of a run lists them"


def _report(tally: Tally, manifest: Path, seconds: float, dry_run: bool, as_json: bool) -> None:
    """What came of it: the manifest's path or one JSON object on stdout, a line for people on stderr."""
    counts = {
        "rows": tally.rows,
        "repeated": tally.repeated,
        "present": tally.present,
        "missing": tally.missing,
        "drawn": tally.drawn,
        "failed": tally.failed,
    }
    if as_json:
        print(json.dumps(counts | {"seconds": round(seconds, 3), "manifest": str(manifest)}))
        return
    if not dry_run:
        print(manifest)
    print(
        ", ".join(f"{count} {name}" for name, count in counts.items()) + f", {seconds:.1f} s", file=sys.stderr
    )
