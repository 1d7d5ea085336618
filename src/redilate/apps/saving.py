"""A finished picture on disk."""

from __future__ import annotations

from collections.abc import Mapping
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
