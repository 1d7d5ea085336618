"""Running a study: draw missing pictures, measure, report. A killed run can be continued."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from diffusers import DiffusionPipeline
from PIL import Image

from ..atomic import replacing
from ..errors import RedilateError
from ..generation.drawing import versions
from ..pipelines.families import latent_scale
from .appearance import sharpness
from .features import Gallery, crops, features, side_by_side
from .figures import write_plots, write_sheets
from .inputs import check_installed, load_real, real_pictures
from .measures import VERSION, Measurement, Seen, enlarged, is_broken_up, measure_picture, with_cost
from .pictures import OnProgress, Picture, draw, find
from .report import write_json, write_page, write_table
from .summary import Row, summarise
from .tasks import Study, Task, plan_tasks


class Results(NamedTuple):
    """A study's settings as plain data, and a row for each size and method, the native pictures' first."""

    settings: dict[str, Any]
    rows: list[Row]


def run_study(
    study: Study,
    pipe: DiffusionPipeline,
    out: Path,
    model: str = "",
    on_progress: OnProgress = lambda *_: None,
    workers: Callable[..., Any] | None = None,
) -> Results:
    """Draw the pictures that `out` lacks, measure all, and write the reports into `out`.

    They are results.json, results.md, results.html (self-contained), and for each size sheet-SIZE.png, plot-SIZE.png
    and curve-SIZE.png.

    Args:
        out: a folder; made if missing.
        model: its name in the reports.
        on_progress: called with (phase, description, done, total).
        workers: see `pictures.draw`; None: this process draws with `pipe`.

    Raises:
        RedilateError: before any work, for an invalid study, a missing library of the `eval` extra, and pictures in
            `out` with other settings; after drawing, for pictures that could not be made.
    """
    study.check()
    check_installed()
    cases = plan_tasks(study, pipe, out)
    draw(pipe, [task for case in cases for task in case], on_progress, workers)
    measurements, seen = measure_all(cases, out, latent_scale(pipe), on_progress)
    native = cases[0][0]
    real: dict[str, np.ndarray] = {}
    sharp: dict[str, float] = {}
    if study.real is not None:
        for width, height in study.sizes:
            size = f"{width}x{height}"
            images = load_real(real_pictures(study.real, (width, height)), (width, height))
            real[size], sharp[size] = _see_real(images, (native.request.width, native.request.height))
    on_progress("reporting", "reporting", 0, 1)
    rows = summarise(measurements, seen, real)
    settings = {
        "model": model,
        "native size": native.size,
        "prompts and seeds": study.count,
        "steps": study.steps,
        "guidance": native.request.guidance,
        "fingerprint": native.request.model,
        "real pictures": {size: len(real.get(size, ())) for size in seen},
        "sharpness of real pictures, dB": sharp,
        "versions": versions(),
        "drawings": {
            f"{task.method} {task.size}": task.request.drawing
            for task in cases[0]
            if task.request.drawing is not None
        },
    }
    write_json(out / "results.json", settings, rows, measurements)
    write_table(out / "results.md", settings, rows)
    write_sheets(out, cases, measurements)
    write_page(out / "results.html", settings, rows, cases, measurements, write_plots(out, rows))
    on_progress("reporting", "reporting", 1, 1)
    return Results(settings, rows)


def measure_all(
    cases: Sequence[Sequence[Task]], out: Path, scale: int, progress: OnProgress
) -> tuple[list[Measurement], dict[str, dict[str, np.ndarray]]]:
    """Every picture's measurement, and the features by size and method, of shape (pictures, 1 + CROPS, channels).

    The native pictures, enlarged, are measured as one more method.
    """
    progress("measuring", "measuring", 0, len(cases))
    natives = [case[0] for case in cases]
    sizes = {task.size: (task.request.width, task.request.height) for task in cases[0][1:]}
    galleries = {
        size: Gallery([_existing(one).image for one in natives], shape) for size, shape in sizes.items()
    }
    measurements: list[Measurement] = []
    found: dict[str, dict[str, list[np.ndarray]]] = {size: {} for size in sizes}
    for done, (reference, *larges) in enumerate(cases, 1):
        native = _existing(reference)
        prompt, seed = reference.request.prompt, reference.request.seed
        native_values: Mapping[str, float] = {}
        for size, shape in sizes.items():
            for task in (reference, *(task for task in larges if task.size == size)):
                if task is reference:
                    picture = Picture(enlarged(native.image, shape), native.cost)
                else:
                    picture = _existing(task)
                path = out / "measured" / size / task.method / f"{task.path.stem}.npz"
                stamp = stamp_of(reference.path, task.path)
                seen = read_measured(path, stamp)
                if seen is None:
                    seen = measure_picture(native.image, picture.image, scale=scale, seed=seed)
                    keep_measured(path, stamp, seen)
                found[size].setdefault(task.method, []).append(seen.features)
                values = with_cost(seen, picture.cost)
                if task is reference:
                    native_values, nearest = values, reference
                else:
                    nearest = natives[galleries[size].nearest(picture.image)]
                values["broken_up"] = float(is_broken_up(values, native_values))
                values["recognised"] = float(nearest.request.prompt == prompt)
                measurements.append(Measurement(prompt, seed, size, task.method, values))
        progress("measuring", "measuring", done, len(cases))
    stacked = {
        size: {method: np.stack(seen) for method, seen in methods.items()} for size, methods in found.items()
    }
    return measurements, stacked


def keep_measured(path: Path, stamp: str, seen: Seen) -> None:
    """Store measured values in `path` (.npz), since measuring takes nearly as long as drawing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        whole, pieces = seen.features[:1], seen.features[1:]
        np.savez(file, stamp=stamp, values=json.dumps(dict(seen.values)), whole=whole, pieces=pieces)


def read_measured(path: Path, stamp: str) -> Seen | None:
    """The values in `path` if they have this stamp, else None."""
    try:
        with np.load(path) as archive:
            if archive["stamp"] != stamp:
                return None
            values = json.loads(str(archive["values"]))
            return Seen(values, np.concatenate([archive["whole"], archive["pieces"]]))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def stamp_of(*pictures: Path) -> str:
    """A hash of the files' content and the measures' version."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in pictures:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _see_real(images: Iterator[Image.Image], native: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The features of real pictures, as of drawn ones of a `native` (width, height), and their mean sharpness."""
    seen, sharp = [], []
    blank = Image.new("RGB", native)
    for index, image in enumerate(images):
        _, shrunk = side_by_side(blank, image)
        seen.append(features([shrunk, *crops(image, native, index)]))
        sharp.append(sharpness(image))
    return np.stack(seen), float(np.mean(sharp))


def _existing(task: Task) -> Picture:
    picture = find(task.request, task.path)
    if picture is None:
        raise RedilateError(f"{task.path} has vanished while the study ran")
    return picture
