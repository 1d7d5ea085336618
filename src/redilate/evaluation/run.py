"""A study: the same prompts and seeds at native size and, by several methods, at larger ones; then the count."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from ..errors import RedilateError
from ..generation.generate import versions
from ..pipelines.apply import check_size, plan_for
from ..pipelines.families import latent_scale
from ..pipelines.native import native_size
from ..plans.plan import Plan
from .features import network
from .measures import Measurement, Row, measure, summarise
from .pictures import Picture, Request, find, fingerprint, make
from .report import write_json, write_table
from .sheets import SheetRow, write_sheet

NATIVE = "native"
METHODS = ("direct", "redilate")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Called with (the stage, what is at hand, how much of the stage is done, of how much).
OnProgress = Callable[[str, str, float, int], None]


@dataclass(frozen=True)
class Study:
    """What is drawn and compared.

    Attributes:
        prompts: picture k is of prompt k, with seed k; past the last prompt they start over with new seeds.
        count: how many prompts and seeds.
        sizes: (width, height) of the large pictures, in pixels.
        methods: out of METHODS; the first is the baseline. "redilate" uses the plan that `plan_for` gives.
        plans: name → plan: further methods, re-dilated by that plan at every size.
        steps, guidance: as for `redilate.generate`.
    """

    prompts: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    count: int = 64
    methods: Sequence[str] = METHODS
    plans: Mapping[str, Plan] = field(default_factory=dict)
    steps: int = 25
    guidance: float = 5.0

    def check(self) -> None:
        """Refuse what cannot be run: RedilateError names it."""
        if not self.prompts or self.count < 1:
            raise RedilateError(
                f"{len(self.prompts)} prompts and a count of {self.count}: at least 1 of each is needed"
            )
        if not self.sizes or not [*self.methods, *self.plans]:
            raise RedilateError("a study needs at least one size and one method")
        for method in self.methods:
            if method not in METHODS:
                raise RedilateError(
                    f"unknown method {method!r}; known: {', '.join(METHODS)}; others by a plan"
                )
        for name in self.plans:
            if name in (*METHODS, NATIVE) or not _NAME.fullmatch(name):
                raise RedilateError(
                    f"a plan cannot be called {name!r}; letters, digits, '.', '_' and '-' work"
                )


@dataclass(frozen=True)
class Task:
    """One picture to be made: by which method (or NATIVE), how, and where it is kept."""

    method: str
    request: Request
    path: Path

    @property
    def size(self) -> str:
        """Width and height as `1024x768`."""
        return f"{self.request.width}x{self.request.height}"


def run_study(
    study: Study, pipe: DiffusionPipeline, out: Path, model: str = "", on_progress: OnProgress | None = None
) -> list[Row]:
    """Make every picture that `out` lacks, measure all pairs, and write study.json, study.md and a sheet per size.

    Returns the rows of the table. Killed and started again it goes on where it was. `model` is the name that the
    reports give. RedilateError, before any work, for what cannot be run and for pictures in `out` made otherwise.
    """
    study.check()
    network()  # a missing `eval` extra shows now and not after hours of drawing
    progress = on_progress or (lambda *_: None)
    cases = plan_tasks(study, pipe, out)
    draw(pipe, [task for case in cases for task in case], progress)
    measurements = list(measure_all(cases, progress))
    rows = summarise(measurements)
    native = cases[0][0]
    settings = {
        "model": model,
        "native size": native.size,
        "prompts and seeds": study.count,
        "steps": study.steps,
        "guidance": study.guidance,
        "fingerprint": native.request.model,
        "versions": versions(),
        "plans": _used_plans(cases[0]),
    }
    write_json(out / "study.json", settings, rows, measurements)
    write_table(out / "study.md", settings, rows)
    for width, height in study.sizes:
        _write_sheet(out, f"{width}x{height}", cases, measurements)
    return rows


def plan_tasks(study: Study, pipe: DiffusionPipeline, out: Path) -> list[list[Task]]:
    """For each prompt and seed the native picture's task, then each size's and method's."""
    scale = latent_scale(pipe)
    height, width = native_size(pipe)
    for size in study.sizes:
        check_size(*size, scale)
    variants: list[tuple[str, tuple[int, int], Plan | None]] = [(NATIVE, (width, height), None)]
    for size in study.sizes:
        for method in study.methods:
            plan = plan_for(pipe, width=size[0], height=size[1]) if method == "redilate" else None
            variants.append((method, size, plan))
        variants += [(name, size, plan) for name, plan in study.plans.items()]
    weights = fingerprint(pipe)
    cases = []
    for seed in range(study.count):
        prompt = study.prompts[seed % len(study.prompts)]
        case = []
        for method, size, plan in variants:
            request = Request(
                prompt,
                seed,
                *size,
                "direct" if plan is None else "redilate",
                plan,
                study.steps,
                study.guidance,
                weights,
            )
            folder = f"{NATIVE}-{width}x{height}" if method == NATIVE else f"{size[0]}x{size[1]}/{method}"
            case.append(Task(method, request, out / folder / f"{seed:03}-{_slug(prompt)}.png"))
        cases.append(case)
    return cases


def draw(pipe: DiffusionPipeline, tasks: Sequence[Task], progress: OnProgress) -> None:
    """Make the pictures that are not there yet."""
    missing = [task for task in tasks if find(task.request, task.path) is None]
    pipe.set_progress_bar_config(disable=True)
    for done, task in enumerate(missing):
        what = f"{task.method} {task.size}"
        progress("drawing", what, done, len(missing))

        def on_step(step: int, steps: int, done: int = done, what: str = what) -> None:
            progress("drawing", what, done + step / steps, len(missing))

        make(pipe, task.request, task.path, on_step)


def measure_all(cases: Sequence[Sequence[Task]], progress: OnProgress) -> Iterator[Measurement]:
    """Compare every large picture with its native one."""
    for done, (reference, *larges) in enumerate(cases):
        progress("measuring", "measuring", done, len(cases))
        native = _existing(reference)
        for task in larges:
            large = _existing(task)
            request = task.request
            yield measure(
                native.image,
                large.image,
                prompt=request.prompt,
                seed=request.seed,
                method=task.method,
                seconds=large.seconds,
            )
    progress("measuring", "measuring", len(cases), len(cases))


def _existing(task: Task) -> Picture:
    picture = find(task.request, task.path)
    if picture is None:
        raise RedilateError(f"{task.path} has vanished while the study ran")
    return picture


def _used_plans(case: Sequence[Task]) -> dict[str, Any]:
    return {
        f"{task.method} {task.size}": task.request.plan.model_dump(mode="json")
        for task in case
        if task.request.plan is not None
    }


def _write_sheet(
    out: Path, size: str, cases: Sequence[Sequence[Task]], measurements: list[Measurement]
) -> None:
    measured = {(one.seed, one.method): one for one in measurements if one.size == size}
    rows = []
    for reference, *larges in cases:
        seed = reference.request.seed
        shown = [task for task in larges if task.size == size]
        found = [measured[seed, task.method] for task in shown]
        notes = [_objects(found[0].repetition.components_native)]
        notes += [f"{_objects(one.repetition.components_large)}, {one.feature_distance:.2f}" for one in found]
        rows.append(
            SheetRow(reference.request.prompt, tuple(task.path for task in (reference, *shown)), tuple(notes))
        )
    columns = [NATIVE, *(task.method for task in cases[0] if task.size == size and task.method != NATIVE)]
    write_sheet(out / f"sheet-{size}.png", columns, rows)


def _objects(count: int) -> str:
    return f"{count} object" + "s" * (count != 1)


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "prompt"
