"""A session's files: pictures with their settings inside, thumbnails, and uploads."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from redilate.errors import RedilateError
from redilate.generation.photos import read_photo

from ..metadata import FORMATS, save_picture
from .draw import PageRequest

# Of an upload. So many pixels take 150 MB as RGB.
MOST_BYTES, MOST_PIXELS = 32 * 2**20, 50_000_000
_THUMBNAIL = 320


@dataclass(frozen=True)
class Picture:
    """A picture of a session: its request, its PNG, its settings and notes."""

    request: PageRequest
    path: Path
    seconds: float
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def small(self) -> Path:
        """The thumbnail's path."""
        return self.path.with_name("small.webp")

    def write(self, image: Image) -> None:
        """Write its files."""
        save_picture(self.path, image, self.settings)
        small = image.copy()
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        small.save(self.small)

    def forget(self) -> None:
        """Delete its files."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def own_folder(folder: Path) -> Path:
    """A new folder in `folder` with an unguessable name."""
    own = folder / secrets.token_hex(16)
    own.mkdir(parents=True)
    return own


def file_name(settings: dict[str, Any]) -> str:
    """A file's name by its settings: a-red-apple-512x512-seed-7-redilate.png."""
    words = re.sub(r"[^a-z0-9]+", "-", settings["prompt"].lower()).strip("-")[:40].rstrip("-") or "picture"
    size = f"{settings['width']}x{settings['height']}"
    return f"{words}-{size}-seed-{settings['seed']}-{settings['method']}.png"


def read_upload(path: Path) -> tuple[Image, tuple[str, ...]]:
    """An uploaded picture, upright and in RGB, and notes about what of it is not used.

    Raises:
        RedilateError: it is not a readable PNG, JPEG or WebP, or has too many bytes or pixels.
    """
    if path.stat().st_size > MOST_BYTES:
        raise RedilateError(
            f"the picture to start from has more than {MOST_BYTES // 2**20} MB; a smaller file works"
        )
    notes: list[str] = []
    # As bytes, because a message would name this machine's path.
    image = read_photo(path.read_bytes(), max_pixels=MOST_PIXELS, formats=FORMATS, on_note=notes.append)
    return image, tuple(notes)
