"""A study carried out: draw what is missing, measure, report. Killed, it goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline
from PIL import Image

from ..errors import RedilateError
from ..generation.drawing import versions
from ..pipelines.families import latent_scale
from .cache import cached
from .extra import check_installed
from .features import features, side_by_side
from .measures import Measurement, Seen, enlarged, is_broken_up, measure_picture, with_cost
from .page import write_page
from .pictures import Picture, find
from .plots import write_plots
from .real import load_real, real_pictures
from .recognition import Gallery
from .report import write_json, write_table
from .sheets import write_sheets
from .spectrum import sharpness
from .summary import NATIVE, Row, SizeFeatures, Views, summarise
from .tasks import Study, Task, plan_tasks
from .views import crops
from .workers import OnProgress, Workers, draw


@dataclass(frozen=True)
class Results:
    """All that a study found.

    Attributes:
        settings: what was run, as plain data.
        rows: a row for each size and method, the native pictures' first.
        measurements: every picture's.
    """

    settings: dict[str, Any]
    rows: list[Row]
    measurements: list[Measurement]


def run_study(
    study: Study,
    pipe: DiffusionPipeline,
    out: Path,
    model: str = "",
    on_progress: OnProgress | None = None,
    workers: Workers | None = None,
) -> Results:
    """Make every picture that `out` lacks, measure them, and write the reports into `out`:

    results.json, results.md, results.html (one file that needs no other), and for each size sheet-SIZE.png,
    plot-SIZE.png and curve-SIZE.png.

    Args:
        study: what is drawn and compared.
        pipe: draws where there are no workers, and tells sizes and plans in any case.
        out: a folder; made if missing.
        model: the name that the reports give.
        on_progress: called as the work goes on.
        workers: the processes that draw; None: this one does.

    Raises:
        RedilateError: before any work, for what cannot be run, for a missing library of the `eval` extra, and for
            pictures in `out` made otherwise; after it, for pictures that could not be made, with the cause.
    """
    study.check()
    check_installed()
    progress = on_progress or (lambda *_: None)
    cases = plan_tasks(study, pipe, out)
    draw(pipe, [task for case in cases for task in case], progress, workers)
    measurements, seen, real_sharpness = measure_all(study, cases, out, latent_scale(pipe), progress)
    progress("reporting", "reporting", 0, 1)
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
    results = Results(settings, rows, measurements)
    write_json(out / "results.json", settings, rows, measurements)
    write_table(out / "results.md", settings, rows)
    write_sheets(out, cases, measurements)
    plots = write_plots(out, rows)
    write_page(out / "results.html", settings, rows, cases, measurements, plots)
    progress("reporting", "reporting", 1, 1)
    return results


def measure_all(
    study: Study, cases: Sequence[Sequence[Task]], out: Path, scale: int, progress: OnProgress
) -> tuple[list[Measurement], dict[str, SizeFeatures], dict[str, float]]:
    """Every picture's measurement, the features of each size's sets, and how sharp each size's real pictures are.

    The native pictures, enlarged, are measured as one more method, so that a table shows what they have.
    """
    measurements: list[Measurement] = []
    found: dict[str, dict[str, list[Seen]]] = {}
    galleries: dict[str, Gallery] = {}
    for done, case in enumerate(cases):
        progress("measuring", "measuring", done, len(cases))
        natives: dict[str, Mapping[str, float]] = {}
        for task, size, seen, cost in _measured_pictures(case, out, scale):
            found.setdefault(size, {}).setdefault(task.method, []).append(seen)
            request = task.request
            values = with_cost(seen, cost.cost)
            # The native picture comes first at each size.
            values["broken_up"] = float(is_broken_up(values, natives.setdefault(size, values)))
            values["recognised"] = float(_is_recognised(task, size, cost, cases, galleries))
            measurements.append(Measurement(request.prompt, request.seed, size, task.method, values))
    progress("measuring", "measuring", len(cases), len(cases))
    native_size = (cases[0][0].request.width, cases[0][0].request.height)
    sets, sharp = {}, {}
    for width, height in study.sizes:
        size = f"{width}x{height}"
        views = {method: _views(seen) for method, seen in found[size].items()}
        real = None
        if study.real is not None:
            real, sharp[size] = _see_real(study.real, (width, height), native_size)
        sets[size] = SizeFeatures(views.pop(NATIVE), views, real)
    return measurements, sets, sharp


def _measured_pictures(
    case: Sequence[Task], out: Path, scale: int
) -> Iterator[tuple[Task, str, Seen, Picture]]:
    """For each size the native picture, enlarged, then each method's: what it shows and what it cost."""
    reference, *larges = case
    native = _existing(reference)
    seed = reference.request.seed
    for size in dict.fromkeys(task.size for task in larges):
        for task in (reference, *(task for task in larges if task.size == size)):
            picture = native if task is reference else _existing(task)
            width, height = (int(side) for side in size.split("x"))

            def measured(picture: Picture = picture, task: Task = task, shape=(width, height)) -> Seen:
                large = enlarged(native.image, shape) if task is reference else picture.image
                return measure_picture(native.image, large, scale=scale, seed=seed)

            store = out / "measured" / size / task.method / f"{task.path.stem}.npz"
            yield task, size, cached(store, (reference.path, task.path), measured), picture


def _is_recognised(
    task: Task, size: str, picture: Picture, cases: Sequence[Sequence[Task]], galleries: dict[str, Gallery]
) -> bool:
    """Whether the native picture that a large one is nearest to is one of the same prompt."""
    if task.method == NATIVE:
        return True
    natives = [case[0] for case in cases]
    if size not in galleries:
        galleries[size] = Gallery([_existing(one).image for one in natives], picture.image.size)
    return natives[galleries[size].nearest(picture.image)].request.prompt == task.request.prompt


def _see_real(folder: Path, size: tuple[int, int], native: tuple[int, int]) -> tuple[Views, float]:
    """The real pictures' features, seen as the drawn ones are, and their mean sharpness."""
    whole, pieces, sharp = [], [], []
    blank = Image.new("RGB", native)
    for index, image in enumerate(load_real(real_pictures(folder, size), size)):
        _, shrunk = side_by_side(blank, image)
        whole.append(features([shrunk]))
        pieces.append(features(crops(image, native, index)))
        sharp.append(sharpness(image))
    return Views(np.stack(whole), np.stack(pieces)), float(np.mean(sharp))


def _views(seen: Sequence[Seen]) -> Views:
    return Views(np.stack([one.whole for one in seen]), np.stack([one.pieces for one in seen]))


def _existing(task: Task) -> Picture:
    picture = find(task.request, task.path)
    if picture is None:
        raise RedilateError(f"{task.path} has vanished while the study ran")
    return picture
