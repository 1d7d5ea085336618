"""What is asked for on the page, and how it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from redilate.errors import RedilateError

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
    """One picture, the seconds that it took, and the settings that make it again."""

    image: Image
    seconds: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """A picture as somebody asks for it; `checked` makes one from what a form holds.

    Attributes:
        way: the method that draws it, "redilate" or "direct".
        mode: "single" or "relay".
        image, strength: the picture to start from and how much of it is drawn anew; None: from noise alone.
    """

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    guidance: float
    negative: str | None = None
    way: Way = "redilate"
    mode: Literal["single", "relay"] = "single"
    image: Image | None = None
    strength: float = 0.6

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
        mode: str = "auto",
        image: Image | None = None,
        strength: float = 0.6,
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
        settled = _mode(mode, sizes.mode(wide, high, way), image)
        return cls(
            prompt,
            wide,
            high,
            int(_within("seed", seed, 0, MOST_SEED, whole=True)),
            int(_within("number of steps", steps, 1, MOST_STEPS, whole=True)),
            _within("guidance", guidance, 0, 50),
            (negative or "").strip() or None,
            way,
            settled,
            image,
            _within("strength", strength, 0.01, 1),
        )

    @property
    def taken(self) -> int:
        """The denoising steps of one picture, as far as they are known before it is drawn."""
        return self.steps if self.image is None else max(1, int(self.steps * self.strength))

    @property
    def kind(self) -> str:
        """Pictures of the same kind cost the same for each step and pixel."""
        return f"{self.mode} {self.way}{'' if self.guidance > 1 else ' unguided'}"

    def other(self, sizes: Sizes) -> Ask:
        """The picture to compare this one with: the other method's, in the mode "auto", all else the same."""
        way: Way = "direct" if self.way == "redilate" else "redilate"
        return replace(
            self, way=way, mode=_mode("auto", sizes.mode(self.width, self.height, way), self.image)
        )


def _mode(asked: str, ahead: Literal["single", "relay"], image: Image | None) -> Literal["single", "relay"]:
    """The mode that is asked for; of "auto", the one that is `ahead`."""
    if asked == "relay":
        if image is not None:
            raise RedilateError("a picture to start from is drawn in a single stage; choose auto or single")
        return "relay"
    if asked not in ("auto", "single"):
        raise RedilateError(f"unknown mode {asked!r}; auto, single, relay works")
    return ahead if asked == "auto" and image is None else "single"


def draw(pipe: Any, ask: Ask, job: Job) -> Drawn:
    """Draw what was asked, reporting each `Step` and an `Early` picture to `job`.

    Raises:
        Stopped: at the next denoising step after `job` was stopped.
        RedilateError: for what the engine refuses.
    """
    import redilate
    from redilate.generation.edit import edit

    def on_step(done: int, total: int) -> None:
        job.check()
        job.report(Step(done, total))

    if ask.image is not None:
        run = partial(edit, image=ask.image, strength=ask.strength)
    else:
        run = partial(redilate.generate, mode=ask.mode, on_preview=lambda image: job.report(Early(image)))
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
    )
    job.check()
    return Drawn(made.images[0], made.seconds, made.settings)


def _within(name: str, value: float | None, least: float, most: float, *, whole: bool = False) -> float:
    if value is None or not math.isfinite(value) or not least <= value <= most or (whole and value % 1):
        kind = "a whole number" if whole else "a number"
        shown = "missing" if value is None else f"{value:g}"
        raise RedilateError(f"the {name} is {shown}; it is {kind} from {least:g} to {most:g}")
    return value
