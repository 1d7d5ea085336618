"""What is asked for on the page, and how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from redilate.errors import RedilateError

from ..command_line import say_warning
from .sizes import Sizes
from .worker import Job

if TYPE_CHECKING:
    from PIL.Image import Image

Way = Literal["redilate", "direct"]
WAYS: tuple[Way, ...] = ("redilate", "direct")
MOST_STEPS, MOST_LETTERS, MOST_SEED = 200, 4_000, 2**32 - 1


@dataclass(frozen=True)
class Step:
    """A report of a job: `done` of `total` denoising steps are taken."""

    done: int
    total: int


@dataclass(frozen=True)
class Early:
    """A report of a job: the picture at native size, long before the large one."""

    image: Image


@dataclass(frozen=True)
class Drawn:
    """One picture, the seconds that it took, the settings that make it again, and lines that somebody should know."""

    image: Image
    seconds: float
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ask:
    """A picture as somebody asks for it; `checked` makes one from what a form holds.

    Attributes:
        way: the method that draws it, "redilate" or "direct".
        strength: the noise level at which the large legs start, as for `redilate.generate`.
        image: the picture to start from; None: from noise alone.
        notes: what of that picture is not used.
    """

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    guidance: float
    negative: str | None = None
    way: Way = "redilate"
    strength: float = 1.0
    image: Image | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls,
        sizes: Sizes,
        *,
        prompt: str,
        width: float | None,
        height: float | None,
        seed: float | None,
        steps: float | None,
        guidance: float | None,
        negative: str = "",
        way: Way = "redilate",
        strength: float | None = 1.0,
        image: Image | None = None,
        notes: tuple[str, ...] = (),
    ) -> Ask:
        """What the form holds, in the types that the engine takes.

        Raises:
            RedilateError: naming the first field that can't be used, and what would work.
        """
        prompt = (prompt or "").strip()
        if not prompt:
            raise RedilateError("the prompt is empty; say what to draw, for example: a red apple")
        if max(len(prompt), len(negative or "")) > MOST_LETTERS:
            raise RedilateError(f"a prompt has at most {MOST_LETTERS} letters")
        if way not in WAYS:
            raise RedilateError(f"unknown method {way!r}; {', '.join(WAYS)} works")
        wide, high = sizes.check(width, height)
        return cls(
            prompt,
            wide,
            high,
            int(_within("seed", seed, 0, MOST_SEED, whole=True)),
            int(_within("number of steps", steps, 1, MOST_STEPS, whole=True)),
            _within("guidance", guidance, 0, 50),
            (negative or "").strip() or None,
            way,
            _within("strength", strength, 0.01, 1),
            image,
            notes,
        )

    @property
    def one_leg(self) -> bool:
        """Whether all steps are of one size, so that each takes as long as the last."""
        return self.image is not None or self.way == "direct" or self.strength == 1

    @property
    def taken(self) -> int:
        """The denoising steps of the large legs, about: what most of the time goes into."""
        if self.image is None and self.one_leg:
            return self.steps
        return max(1, round(self.steps * self.strength))

    @property
    def kind(self) -> str:
        """Pictures of the same kind cost the same for each step and pixel."""
        legs = "one leg" if self.one_leg else f"from {self.strength:g}"
        return f"{legs} {self.way}{'' if self.guidance > 1 else ' unguided'}"

    def other(self) -> Ask:
        """The picture to compare this one with: the other method's, all else the same."""
        return replace(self, way="direct" if self.way == "redilate" else "redilate")


def draw(pipe: Any, ask: Ask, job: Job) -> Drawn:
    """Draw what was asked, reporting each `Step` and an `Early` picture to `job`.

    Raises:
        Stopped: at the next denoising step after `job` was stopped.
        RedilateError: for what the engine refuses.
    """
    import redilate
    from redilate.generation.edit import edit

    notes = list(ask.notes)

    def on_note(line: str) -> None:
        say_warning(line)
        notes.append(line)

    def on_step(done: int, total: int) -> None:
        job.check()
        job.report(Step(done, total))

    if ask.image is not None:
        run = partial(edit, image=ask.image, strength=ask.strength)
    else:
        strength = None if ask.way == "direct" else ask.strength
        run = partial(redilate.generate, strength=strength, on_preview=lambda image: job.report(Early(image)))
    made = run(
        pipe,
        ask.prompt,
        width=ask.width,
        height=ask.height,
        seed=ask.seed,
        steps=ask.steps,
        guidance=ask.guidance,
        negative=ask.negative,
        method=ask.way,
        on_step=on_step,
        on_note=on_note,
    )
    job.check()
    notes += made.drawing.notes if made.drawing is not None else ()
    return Drawn(made.images[0], made.seconds, made.settings, tuple(dict.fromkeys(notes)))


def _within(name: str, value: float | None, least: float, most: float, *, whole: bool = False) -> float:
    if value is None or not math.isfinite(value) or not least <= value <= most or (whole and value % 1):
        kind = "a whole number" if whole else "a number"
        shown = "missing" if value is None else f"{value:g}"
        raise RedilateError(f"the {name} is {shown}; it is {kind} from {least:g} to {most:g}")
    return value
