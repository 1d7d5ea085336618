"""A finished picture as a file, with its settings inside."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redilate.atomic import replacing

from .files import PICTURES
from .metadata import embedding

if TYPE_CHECKING:
    from PIL.Image import Image


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
