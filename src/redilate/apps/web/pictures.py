"""The files of a session: pictures with their settings inside, small ones for the gallery, and what people upload."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redilate.apps.embedded import FORMATS
from redilate.apps.metadata import save_picture
from redilate.errors import RedilateError

if TYPE_CHECKING:
    from PIL.Image import Image

    from .draw import Ask, Drawn

# Of what is uploaded. A picture of so many pixels takes 150 MB as RGB.
MOST_BYTES, MOST_PIXELS = 32 * 2**20, 50_000_000
_THUMBNAIL = 320


@dataclass(frozen=True)
class Picture:
    """A picture of this session: what was asked for, its PNG, a small copy, its settings, and lines to know."""

    ask: Ask
    path: Path
    small: Path
    seconds: float
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()

    def forget(self) -> None:
        """Delete its files."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def keep(folder: Path, ask: Ask, drawn: Drawn) -> Picture:
    """Write a picture into a folder of its own in `folder`, whose name nobody can guess."""
    own = folder / secrets.token_hex(16)
    own.mkdir(parents=True)
    path = own / f"{file_name(drawn.settings)}.png"
    save_picture(path, drawn.image, drawn.settings)
    small = drawn.image.copy()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small_path = own / "small.webp"
    small.save(small_path)
    return Picture(ask, path, small_path, drawn.seconds, drawn.settings, drawn.notes)


def keep_early(folder: Path, image: Image) -> Path:
    """Write an early picture, which carries no settings: it is not what was asked for."""
    own = folder / secrets.token_hex(16)
    own.mkdir(parents=True)
    image.save(own / "early.webp", quality=90)
    return own / "early.webp"


def file_name(settings: dict[str, Any]) -> str:
    """A file's name that says what it is: a-red-apple-512x512-seed-7-redilate."""
    words = re.sub(r"[^a-z0-9]+", "-", settings["prompt"].lower()).strip("-")[:40].rstrip("-") or "picture"
    size = f"{settings['width']}x{settings['height']}"
    return f"{words}-{size}-seed-{settings['seed']}-{settings['method']}"


def read_upload(path: Path) -> tuple[Image, tuple[str, ...]]:
    """A picture that somebody uploaded, upright and in RGB, and what of it is not used, a line each.

    Raises:
        RedilateError: it is no PNG, JPEG or WebP that can be read, or has too many bytes or pixels.
    """
    from redilate.generation.photos import read_photo

    if path.stat().st_size > MOST_BYTES:
        raise RedilateError(
            f"the picture to start from has more than {MOST_BYTES // 2**20} MB; a smaller file works"
        )
    notes: list[str] = []
    # As bytes: a message with the path would tell of this machine.
    image = read_photo(path.read_bytes(), max_pixels=MOST_PIXELS, formats=FORMATS, on_note=notes.append)
    return image, tuple(notes)
