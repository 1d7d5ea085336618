"""Reading the JSON settings inside a picture file, without its pixels and without validation."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

from PIL import ExifTags, Image

from redilate.errors import RedilateError

FORMATS = ("PNG", "JPEG", "WEBP")
# The PNG text chunk that holds the JSON.
SETTINGS = "redilate"
# Before the JSON in EXIF's description, which other programs write too.
MARK = "redilate:"


def read_text(path: str | Path) -> tuple[str, tuple[int, int], str]:
    """The JSON inside the picture at `path`, its size (width, height) and format.

    Raises:
        RedilateError: not a readable PNG, JPEG or WebP, or without settings of Redilate.
    """
    if not Path(path).is_file():
        raise RedilateError(f"there is no file {str(path)!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels and odd EXIF
            with Image.open(path, formats=FORMATS) as image:
                size, kind = image.size, str(image.format)
                text = image.info.get(SETTINGS) if kind == "PNG" else _described(image)
    # Pillow's exceptions for damaged files.
    except (
        OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, KeyError, IndexError, OverflowError,
        MemoryError, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise RedilateError(
            f"{path} is not a PNG, JPEG or WebP that can be read ({_one_line(error)})"
        ) from error
    if not isinstance(text, str):
        raise RedilateError(f"{path} carries no settings of Redilate; pictures that `redilate` writes do")
    return text, size, kind


def _described(image: Image.Image) -> str | None:
    description = image.getexif().get(ExifTags.Base.ImageDescription)
    if isinstance(description, str) and description.startswith(MARK):
        return description.removeprefix(MARK)
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
