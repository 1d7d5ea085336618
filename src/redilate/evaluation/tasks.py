"""A study: the same prompts and seeds at native size and, by several methods, at larger ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from ..errors import RedilateError
from ..generation.drawing import Request as Asked
from ..generation.resolve import resolve
from ..pipelines.apply import check_size
from ..pipelines.families import defaults_family, latent_scale, native_size
from ..plans.defaults import DEFAULTS
from ..rivals.registry import METHODS, OWN, find, settings_of_method
from .pictures import Request, fingerprint
from .real import real_pictures
from .summary import NATIVE
from .variation import Variation

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Study:
    """What is drawn and compared.

    Attributes:
        prompts: picture k is of prompt k, with seed k; past the last prompt they start over with new seeds.
        count: how many prompts and seeds.
        sizes: (width, height) of the large pictures, in pixels.
        methods: names in `rivals.registry`; the first is the baseline.
        variations: name → arguments of `generate`: further methods.
        steps, guidance: as for `redilate.generate`.
        real: a folder of real pictures, see `real.real_pictures`; None: no distances to real pictures.
    """

    prompts: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    count: int = 64
    methods: Sequence[str] = ("direct", "redilate")
    variations: Mapping[str, Variation] = field(default_factory=dict)
    steps: int = 25
    guidance: float | None = None
    real: Path | None = None

    def check(self) -> None:
        """Refuse what cannot be run: RedilateError names it."""
        if not self.prompts or self.count < 1:
            raise RedilateError(
                f"{len(self.prompts)} prompts and a count of {self.count}: at least 1 of each is needed"
            )
        named = [*self.variations]
        if not self.sizes or not [*self.methods, *named]:
            raise RedilateError("a study needs at least one size and one method")
        for method in self.methods:
            find(method)
        for name in named:
            if name in (*METHODS, NATIVE) or not _NAME.fullmatch(name):
                raise RedilateError(
                    f"a variation cannot be called {name!r}; letters, digits, '.', '_' and '-' work, "
                    "and no other method's name"
                )
        if self.real is not None:
            for size in self.sizes:
                real_pictures(self.real, size)


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


def plan_tasks(study: Study, pipe: DiffusionPipeline, out: Path) -> list[list[Task]]:
    """For each prompt and seed the native picture's task, then each size's and method's."""
    scale = latent_scale(pipe)
    height, width = native_size(pipe)
    for size in study.sizes:
        check_size(*size, scale)
    # The column's name, the size, the method that draws it, what `generate` is asked beside, how it is drawn.
    variants: list[tuple[str, tuple[int, int], str, Variation | None, dict[str, Any] | None]] = [
        (NATIVE, (width, height), "direct", None, None)
    ]
    for size in study.sizes:
        for method in study.methods:
            own = settings_of_method(method) if method in OWN else None
            variants.append((method, size, method, None, _drawn(pipe, study, size, own)))
        for name, variation in study.variations.items():
            arguments = variation.arguments()
            # What a picture is known by, when it is found again.
            drawing = _drawn(pipe, study, size, arguments) if variation.method == "redilate" else arguments
            variants.append((name, size, variation.method, variation, drawing))
    weights = fingerprint(pipe)
    guidance = DEFAULTS[defaults_family(pipe)].guidance if study.guidance is None else study.guidance
    cases = []
    for seed in range(study.count):
        prompt = study.prompts[seed % len(study.prompts)]
        case = []
        for name, size, method, variation, drawing in variants:
            request = Request(prompt, seed, *size, method, study.steps, guidance, weights, variation, drawing)
            folder = f"{NATIVE}-{width}x{height}" if name == NATIVE else f"{size[0]}x{size[1]}/{name}"
            case.append(Task(name, request, out / folder / f"{seed:03}-{_slug(prompt)}.png"))
        cases.append(case)
    return cases


def _drawn(
    pipe: DiffusionPipeline, study: Study, size: tuple[int, int], own: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """How `generate` draws with these arguments, as JSON types; None for a method that is not ours."""
    if own is None:
        return None
    asked = {"steps": study.steps, "guidance": study.guidance, **own}
    return resolve(pipe, Asked(prompt="", width=size[0], height=size[1], **asked)).as_json()


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "prompt"
