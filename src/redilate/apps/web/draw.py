"""The form's request, and its drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

from PIL.Image import Image

from redilate.errors import RedilateError
from redilate.generation.drawing import Method, Request
from redilate.generation.photos import read_photo
from redilate.generation.resolve import resolve
from redilate.generation.run import Callbacks, run

from ..command_line import say_warning
from ..drawing_thread import Job
from ..metadata import FORMATS
from .sizes import Sizes

# Of an upload; so many pixels take 150 MB as RGB.
MOST_BYTES, MOST_PIXELS = 32 * 2**20, 50_000_000
MOST_STEPS, MOST_LETTERS, MOST_SEED = 200, 4_000, 2**32 - 1


@dataclass(frozen=True)
class Progress:
    """`done` of `total` denoising steps, and the seconds left if known."""

    done: int
    total: int
    left: float | None = None


@dataclass(frozen=True)
class PageRequest(Request):
    """A request from the form: `width`, `height`, `guidance` and `strength` are never None.

    `notes` say what of the picture to start from is not used.
    """

    notes: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls,
        sizes: Sizes,
        *,
        prompt: str | None,
        width: float | None,
        height: float | None,
        seed: float | None,
        steps: float | None,
        guidance: float | None,
        negative: str | None = None,
        method: Method = "redilate",
        strength: float | None = 1.0,
        image: Image | None = None,
        notes: tuple[str, ...] = (),
    ) -> Self:
        """The form's values in the engine's types; RedilateError for the first invalid one."""
        prompt, negative = (prompt or "").strip(), (negative or "").strip()
        if not prompt:
            raise RedilateError("the prompt is empty; say what to draw, for example: a red apple")
        if max(len(prompt), len(negative)) > MOST_LETTERS:
            raise RedilateError(f"a prompt has at most {MOST_LETTERS} letters")
        if method not in get_args(Method):
            raise RedilateError(f"unknown method {method!r}; {', '.join(get_args(Method))} works")
        return cls(
            prompt,
            negative or None,
            *sizes.check(width, height),
            seed=int(_within("seed", seed, 0, MOST_SEED, whole=True)),
            steps=int(_within("number of steps", steps, 1, MOST_STEPS, whole=True)),
            guidance=_within("guidance", guidance, 0, 50),
            strength=_within("strength", strength, 0.01, 1),
            method=method,
            image=image,
            from_picture="edit",
            notes=notes,
        )

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.width or 0) * (self.height or 0)

    @property
    def one_leg(self) -> bool:
        """Whether all steps have one size, and so take equally long."""
        return self.image is not None or self.method == "direct" or self.strength == 1

    @property
    def large_steps(self) -> int:
        """About how many denoising steps the large legs have, which take most of the time."""
        if self.image is None and self.one_leg:
            return self.steps
        return max(1, round(self.steps * (self.strength or 1)))

    @property
    def kind(self) -> str:
        """Pictures of one kind take the same time for each step and pixel."""
        legs = "one leg" if self.one_leg else f"from {self.strength:g}"
        return f"{legs} {self.method}{'' if (self.guidance or 0) > 1 else ' unguided'}"

    def other(self) -> PageRequest:
        """The same request by the other method, for the comparison."""
        return replace(self, method="direct" if self.method == "redilate" else "redilate")


def draw(pipe: Any, job: Job) -> None:
    """Draw a job's `PageRequest`; its events: `Progress`, the picture at native size (Pillow), `Generation`."""
    request: PageRequest = job.request
    if request.image is None and request.method == "direct":
        request = replace(request, strength=None)  # direct inference takes none

    def on_step(done: int, total: int) -> None:
        job.check()
        job.put(Progress(done, total))

    made = run(
        pipe, resolve(pipe, request), Callbacks(on_step=on_step, on_preview=job.put, on_note=say_warning)
    )
    job.check()
    job.put(replace(made, notes=(*request.notes, *made.notes)))


def _within(name: str, value: float | None, least: float, most: float, *, whole: bool = False) -> float:
    if value is None or not math.isfinite(value) or not least <= value <= most or (whole and value % 1):
        kind = "a whole number" if whole else "a number"
        shown = "missing" if value is None else f"{value:g}"
        raise RedilateError(f"the {name} is {shown}; it is {kind} from {least:g} to {most:g}")
    return value


def read_upload(path: Path) -> tuple[Image, tuple[str, ...]]:
    """An uploaded picture, upright and in RGB, and notes about what of it is not used."""
    if path.stat().st_size > MOST_BYTES:
        raise RedilateError(
            f"the picture to start from has more than {MOST_BYTES // 2**20} MB; a smaller file works"
        )
    notes: list[str] = []
    # As bytes, because a message would name this machine's path.
    image = read_photo(path.read_bytes(), max_pixels=MOST_PIXELS, formats=FORMATS, on_note=notes.append)
    return image, tuple(notes)
