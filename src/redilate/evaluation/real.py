"""Real pictures for comparison, at the drawn ones' size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import RedilateError

_KINDS = {".png", ".jpg", ".jpeg", ".webp"}


def real_pictures(folder: Path, size: tuple[int, int]) -> list[Path]:
    """The files of the real pictures for `size` (width, height), sorted by name.

    `folder`/WIDTHxHEIGHT/* if there is such a folder, else `folder`/*; larger pictures are shrunk. RedilateError for
    fewer than two, an unreadable one, or one that is too small, since an enlarged picture is no reference for detail.
    """
    width, height = size
    exact = folder / f"{width}x{height}"
    source = exact if exact.is_dir() else folder
    try:
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in _KINDS)
    except OSError as error:
        raise RedilateError(f"cannot read the real pictures in {source}: {error.strerror}") from error
    if len(paths) < 2:
        raise RedilateError(
            f"{source} has {len(paths)} real pictures for {width}x{height}; at least 2 are needed, there or in {exact}"
        )
    for path in paths:
        try:
            with Image.open(path) as image:
                found = image.size
        except (OSError, UnidentifiedImageError) as error:
            raise RedilateError(f"cannot read the real picture {path}: {error}") from error
        if found[0] < width or found[1] < height:
            raise RedilateError(
                f"the real picture {path} has {found[0]}x{found[1]} pixels; at least {width}x{height} are needed"
            )
    return paths


def load_real(paths: list[Path], size: tuple[int, int]) -> Iterator[Image.Image]:
    """The pictures at `size`, cropped around the middle."""
    for path in paths:
        with Image.open(path) as image:
            yield ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)
