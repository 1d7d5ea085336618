"""A request for pictures once it has been understood, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

    from redilate.plans.defaults import Preset

MEDIA = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class PictureRequest:
    """What to draw.

    Attributes:
        prompt, negative, width, height, seed, count, steps, guidance, method, preset, strength: as for
            `redilate.generate`.
        image: the picture to start from, at (width, height); None: from nothing.
        mask: of the same size, white where it is drawn anew; None: everywhere.
        notes: what of the picture that was sent is not used.
        partials: how many previews are wanted.
        output: the file format, with Pillow's `quality` where one is asked for.
    """

    prompt: str
    negative: str | None
    width: int
    height: int
    seed: int
    count: int
    steps: int
    guidance: float | None
    method: Literal["redilate", "direct"]
    preset: Preset = "default"
    strength: float | None = None
    image: Image | None = None
    mask: Image | None = None
    notes: tuple[str, ...] = ()
    partials: int = 0
    output: Literal["png", "jpeg", "webp"] = "png"
    quality: int | None = None

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Partial:
    """A preview: the file, and its number from 0."""

    data: bytes
    index: int


@dataclass(frozen=True)
class Picture:
    """A finished picture: the file, its seed, and lines that somebody should know."""

    data: bytes
    seed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """No picture: what went wrong."""

    error: BaseException


class Done:
    """All pictures have been sent."""


class Left:
    """The client has closed its connection."""


Event = Partial | Picture | Failed | Done | Left
