"""Pictures as files: refused before any work if they cannot be written; written whole, their settings inside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redilate.atomic import replacing
from redilate.errors import RedilateError

from .metadata import embedding

if TYPE_CHECKING:
    from PIL.Image import Image


# Pillow's name of each format, by extension.
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def numbered(path: Path, count: int) -> list[Path]:
    """`count` paths: `apple.png` alone, or `apple-1.png`, `apple-2.png`, …"""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number}") for number in range(1, count + 1)]


def check_output(path: Path, extensions: Sequence[str]) -> None:
    """Make sure that `path` can be written and has one of `extensions`.

    Raises:
        RedilateError: another extension, no such folder, a folder in the file's place, or no leave to write there.
    """
    if path.suffix.lower() not in extensions:
        known = ", ".join(extensions)
        raise RedilateError(
            f"can't write {str(path)!r}: extension {path.suffix!r} is unknown; one of {known} works"
        )
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_dir():
            raise RedilateError(f"can't write {str(path)!r}: it is a folder")
        if not path.parent.is_dir():
            raise RedilateError(f"can't write {str(path)!r}: there is no folder {str(path.parent)!r}")
        # Only trying tells: permissions, read-only mounts and overlong names all show here.
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RedilateError(f"can't write {str(path)!r}: {error.strerror}") from error


def check_folder(folder: Path) -> None:
    """Make `folder`, if it is missing, and make sure that files can be written into it; RedilateError if not."""
    probe = folder / f".{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RedilateError(f"can't write to the folder {str(folder)!r}: {error.strerror}") from error


def save_picture(path: Path, image: Image, settings: Mapping[str, Any] | None = None) -> None:
    """Write one picture, whole or not at all, with its settings inside where there are some."""
    kind = PICTURES[path.suffix.lower()]
    extra = {} if settings is None else embedding(kind, settings)
    with replacing(path) as temporary:
        image.save(temporary, format=kind, **extra)


def picture_bytes(
    image: Image, kind: str, settings: Mapping[str, Any] | None = None, quality: int | None = None
) -> bytes:
    """The bytes of a file of the format `kind`, one of `embedded.FORMATS`."""
    extra = {} if settings is None else embedding(kind, settings)
    if kind != "PNG" and quality is not None:
        extra["quality"] = quality
    out = BytesIO()
    image.save(out, format=kind, **extra)
    return out.getvalue()
