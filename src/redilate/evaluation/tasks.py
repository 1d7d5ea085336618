"""A study, and its tasks: the same prompts and seeds at native size and, by several methods, at larger ones."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from diffusers import DiffusionPipeline
from pydantic import Field, JsonValue, model_validator

from ..errors import RedilateError
from ..generation.drawing import Hires
from ..generation.drawing import Request as Asked
from ..generation.resolve import resolve
from ..pipelines.apply import check_size
from ..pipelines.families import defaults_family, latent_scale, native_size, weights_fingerprint
from ..plans.defaults import DEFAULTS, Preset
from ..plans.plan import Plan, Stored
from ..rivals.registry import METHODS, OWN, find
from .inputs import real_pictures
from .summary import NATIVE

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Variation(Stored):
    """A method with its own settings, from a JSON file, as one more method of a study.

    Attributes:
        method: "redilate", or the name of a rival in `rivals.registry`.
        settings: keyword arguments of the rival's function.
        strength, preset, plan, hires, windows, sequential: for "redilate", as for `generate`.
    """

    kind = "variation"

    method: str = "redilate"
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    preset: Preset = "default"
    plan: Literal["none"] | Plan | None = None
    hires: Hires = Hires()
    windows: Annotated[float, Field(ge=0, le=1)] | None = None
    sequential: bool = False

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        ours = self.method == "redilate"
        if not ours and (self.method in OWN or self.method not in METHODS):
            others = ", ".join(name for name in METHODS if name not in OWN)
            raise ValueError(f"method is {self.method!r}; redilate works, and {others}")
        for name in sorted(self._own()):
            if ours == (name == "settings"):
                raise ValueError(f"{name} is not for the method {self.method!r}")
        if not ours:
            takes = inspect.signature(METHODS[self.method].found()).parameters
            for name in self.settings:
                if name not in takes or takes[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                    raise ValueError(f"{self.method} has no setting {name!r}")
        return self

    def arguments(self) -> dict[str, Any]:
        """The method's keyword arguments."""
        return self._own() if self.method == "redilate" else dict(self.settings)

    def _own(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name != "method" and getattr(self, name) != field.get_default(call_default_factory=True)
        }


@dataclass(frozen=True)
class Study:
    """What is drawn and compared; steps and guidance as for `redilate.generate`.

    Picture k is of prompt k with seed k; after the last prompt they start over with new seeds.
    """

    prompts: Sequence[str]
    sizes: Sequence[tuple[int, int]]  # (width, height) of the large pictures, in pixels
    count: int = 64  # of prompts and seeds
    methods: Sequence[str] = ("direct", "redilate")  # names in `rivals.registry`; the first is the baseline
    variations: Mapping[str, Variation] = field(default_factory=dict)  # further methods by their names
    steps: int = 25
    guidance: float | None = None
    real: Path | None = None  # a folder, see `inputs.real_pictures`; None: no distances to real pictures

    def check(self) -> None:
        """RedilateError for a study that cannot be run."""
        if not self.prompts or self.count < 1:
            raise RedilateError(
                f"{len(self.prompts)} prompts and a count of {self.count}: at least 1 of each is needed"
            )
        if not self.sizes or not [*self.methods, *self.variations]:
            raise RedilateError("a study needs at least one size and one method")
        for method in self.methods:
            find(method)
        for name in self.variations:
            if name in (*METHODS, NATIVE) or not _NAME.fullmatch(name):
                raise RedilateError(
                    f"a variation cannot be called {name!r}; letters, digits, '.', '_' and '-' work, "
                    "and no other method's name"
                )
        if self.real is not None:
            for size in self.sizes:
                real_pictures(self.real, size)


@dataclass(frozen=True)
class Request:
    """Everything that decides how a picture looks."""

    prompt: str
    seed: int
    width: int
    height: int
    method: str  # its name in `rivals.registry`
    steps: int
    guidance: float
    model: str  # the weights' fingerprint
    variation: Variation | None = None  # the method's own settings
    # JSON types: for our own methods the `Drawing`, for a rival's variation its settings.
    drawing: dict[str, Any] | None = None


@dataclass(frozen=True)
class Task:
    """One picture to draw: its method (or NATIVE), request and path."""

    method: str
    request: Request
    path: Path

    @property
    def size(self) -> str:
        """Width and height as `1024x768`."""
        return f"{self.request.width}x{self.request.height}"


def plan_tasks(study: Study, pipe: DiffusionPipeline, out: Path) -> list[list[Task]]:
    """For each prompt and seed the native picture's task, then those of all sizes and methods."""
    for size in study.sizes:
        check_size(*size, latent_scale(pipe))

    def drawing(size: tuple[int, int], settings: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"steps": study.steps, "guidance": study.guidance, **settings}
        return resolve(pipe, Asked(prompt="", width=size[0], height=size[1], **asked)).as_json()

    height, width = native_size(pipe)
    # Name, size, and the request's method, variation and drawing.
    variants: list[tuple[str, tuple[int, int], str, Variation | None, dict[str, Any] | None]] = [
        (NATIVE, (width, height), "direct", None, None)
    ]
    for size in study.sizes:
        for method in study.methods:
            drawn = drawing(size, METHODS[method].fixed) if method in OWN else None
            variants.append((method, size, method, None, drawn))
        for name, variation in study.variations.items():
            drawn = variation.arguments()
            if variation.method == "redilate":
                drawn = drawing(size, drawn)
            variants.append((name, size, variation.method, variation, drawn))
    weights = fingerprint(pipe)
    guidance = DEFAULTS[defaults_family(pipe)].guidance if study.guidance is None else study.guidance
    cases = []
    for seed in range(study.count):
        prompt = study.prompts[seed % len(study.prompts)]
        slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "prompt"
        case = []
        for name, size, method, variation, drawn in variants:
            request = Request(prompt, seed, *size, method, study.steps, guidance, weights, variation, drawn)
            folder = f"{NATIVE}-{width}x{height}" if name == NATIVE else f"{size[0]}x{size[1]}/{name}"
            case.append(Task(name, request, out / folder / f"{seed:03}-{slug}.png"))
        cases.append(case)
    return cases


def fingerprint(pipe: DiffusionPipeline) -> str:
    """Sixteen hexadecimal digits that change with a pipeline's weights, their precision or its scheduler."""
    scheduler = pipe.scheduler
    settings = sorted((name, value) for name, value in scheduler.config.items() if not name.startswith("_"))
    told = f"{weights_fingerprint(pipe)} {pipe.unet.dtype} {type(scheduler).__name__} {settings}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]
