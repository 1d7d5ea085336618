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
from .extra import check_installed
from .features import crops, features, side_by_side
from .measures import VERSION, Measurement, Seen, enlarged, is_broken_up, measure_picture, with_cost
from .pictures import OnProgress, Picture, draw, find
from .plots import write_plots
from .real import load_real, real_pictures
from .recognition import Gallery
from .report import write_json, write_page, write_table
from .sheets import write_sheets
from .summary import NATIVE, Row, SizeFeatures, Views, summarise
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
        study: what is drawn and compared.
        pipe: the pipeline; workers have their own.
        out: a folder; made if missing.
        model: its name in the reports.
        on_progress: called as the work goes on.
        workers: see `pictures.draw`; None: this process draws.

    Raises:
        RedilateError: before any work, for an invalid study, a missing library of the `eval` extra, and pictures in
            `out` with other settings; after drawing, for pictures that could not be made.
    """
    study.check()
    check_installed()
    cases = plan_tasks(study, pipe, out)
    draw(pipe, [task for case in cases for task in case], on_progress, workers)
    measurements, seen, real_sharpness = measure_all(study, cases, out, latent_scale(pipe), on_progress)
    on_progress("reporting", "reporting", 0, 1)
    rows = summarise(measurements, seen)
    native = cases[0][0]
    settings = {
        "model": model,
        "native size": native.size,
        "prompts and seeds": study.count,
        "steps": study.steps,
        "guidance": native.request.guidance,
        "fingerprint": native.request.model,
        "real pictures": {size: 0 if one.real is None else len(one.real.whole) for size, one in seen.items()},
        "sharpness of real pictures, dB": real_sharpness,
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
    study: Study, cases: Sequence[Sequence[Task]], out: Path, scale: int, progress: OnProgress
) -> tuple[list[Measurement], dict[str, SizeFeatures], dict[str, float]]:
    """Every picture's measurement, the features of each size's sets, and the sharpness of each size's real pictures.

    The native pictures, enlarged, are measured as one more method.
    """
    measurements: list[Measurement] = []
    found: dict[str, dict[str, list[Seen]]] = {}
    galleries: dict[str, Gallery] = {}
    natives = [case[0] for case in cases]
    for done, case in enumerate(cases):
        progress("measuring", "measuring", done, len(cases))
        native: Mapping[str, float] = {}
        for task, size, seen, picture in _measured_pictures(case, out, scale):
            found.setdefault(size, {}).setdefault(task.method, []).append(seen)
            values = with_cost(seen, picture.cost)
            recognised = True
            if task.method == NATIVE:  # which comes first at each size
                native = values
            else:
                if size not in galleries:
                    references = [_existing(one).image for one in natives]
                    galleries[size] = Gallery(references, picture.image.size)
                nearest = natives[galleries[size].nearest(picture.image)]
                recognised = nearest.request.prompt == task.request.prompt
            values["broken_up"] = float(is_broken_up(values, native))
            values["recognised"] = float(recognised)
            measurements.append(
                Measurement(task.request.prompt, task.request.seed, size, task.method, values)
            )
    progress("measuring", "measuring", len(cases), len(cases))
    sets, sharp = {}, {}
    for width, height in study.sizes:
        size = f"{width}x{height}"
        views = {
            method: Views(np.stack([one.whole for one in seen]), np.stack([one.pieces for one in seen]))
            for method, seen in found[size].items()
        }
        real = None
        if study.real is not None:
            native_size = (natives[0].request.width, natives[0].request.height)
            real, sharp[size] = _see_real(study.real, (width, height), native_size)
        sets[size] = SizeFeatures(views.pop(NATIVE), views, real)
    return measurements, sets, sharp


def _measured_pictures(
    case: Sequence[Task], out: Path, scale: int
) -> Iterator[tuple[Task, str, Seen, Picture]]:
    """For each size the native picture, enlarged, then each method's, with its values and cost."""
    reference, *larges = case
    native = _existing(reference)
    for size in dict.fromkeys(task.size for task in larges):
        for task in (reference, *(task for task in larges if task.size == size)):
            picture = native if task is reference else _existing(task)
            path = out / "measured" / size / task.method / f"{task.path.stem}.npz"
            stamp = stamp_of(reference.path, task.path)
            seen = read_measured(path, stamp)
            if seen is None:
                width, height = (int(side) for side in size.split("x"))
                large = enlarged(native.image, (width, height)) if task is reference else picture.image
                seen = measure_picture(native.image, large, scale=scale, seed=reference.request.seed)
                keep_measured(path, stamp, seen)
            yield task, size, seen, picture


def keep_measured(path: Path, stamp: str, seen: Seen) -> None:
    """Store measured values in `path` (.npz), since measuring takes nearly as long as drawing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        values = json.dumps(dict(seen.values))
        np.savez(file, stamp=stamp, values=values, whole=seen.whole, pieces=seen.pieces)


def read_measured(path: Path, stamp: str) -> Seen | None:
    """The values in `path` if they have this stamp, else None."""
    try:
        with np.load(path) as archive:
            if archive["stamp"] != stamp:
                return None
            return Seen(json.loads(str(archive["values"])), archive["whole"], archive["pieces"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def stamp_of(*pictures: Path) -> str:
    """A hash of the files' content and the measures' version."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in pictures:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _see_real(folder: Path, size: tuple[int, int], native: tuple[int, int]) -> tuple[Views, float]:
    """The real pictures' features, and their mean sharpness."""
    whole, pieces, sharp = [], [], []
    blank = Image.new("RGB", native)
    for index, image in enumerate(load_real(real_pictures(folder, size), size)):
        _, shrunk = side_by_side(blank, image)
        whole.append(features([shrunk]))
        pieces.append(features(crops(image, native, index)))
        sharp.append(sharpness(image))
    return Views(np.stack(whole), np.stack(pieces)), float(np.mean(sharp))


def _existing(task: Task) -> Picture:
    picture = find(task.request, task.path)
    if picture is None:
        raise RedilateError(f"{task.path} has vanished while the study ran")
    return picture
