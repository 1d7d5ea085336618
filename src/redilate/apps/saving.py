"""A finished picture on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import files
from .metadata import png_info

if TYPE_CHECKING:
    from PIL.Image import Image


def save_picture(path: Path, image: Image, settings: Mapping[str, Any] | None = None) -> None:
    """Write one picture, whole or not at all, with its settings where there are some and the format is PNG."""
    kind = files.PICTURES[path.suffix.lower()]
    extra = {"pnginfo": png_info(settings)} if kind == "PNG" and settings is not None else {}
    with files.replacing(path) as temporary:
        image.save(temporary, format=kind, **extra)
