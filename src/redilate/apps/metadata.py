"""The settings inside a PNG: as A1111 writes them for people and galleries, and as JSON for Redilate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from redilate.errors import RedilateError

# The names of the two text chunks.
PARAMETERS, SETTINGS = "parameters", "redilate"


def parameters(settings: Mapping[str, Any]) -> str:
    """The settings as A1111's `parameters` text: the prompt, the negative prompt, one line of `Name: value` pairs.

    `settings` is a generation's (`prompt`, `negative`, `width`, `height`, `seed`, `steps`, `guidance`, `method`,
    `versions`), with the command's own `model` and `scheduler` where they are known.
    """
    pairs = {
        "Steps": settings["steps"],
        "Sampler": settings.get("scheduler"),
        "CFG scale": settings["guidance"],
        "Seed": settings["seed"],
        "Size": f"{settings['width']}x{settings['height']}",
        "Model": settings.get("model"),
        "Method": settings["method"],
        "Version": f"redilate {settings['versions']['redilate']}",
    }
    lines = [settings["prompt"]]
    if settings.get("negative"):
        lines.append(f"Negative prompt: {settings['negative']}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items() if value is not None))
    return "\n".join(lines)


def png_info(settings: Mapping[str, Any]) -> PngInfo:
    """The text chunks `parameters` and `redilate` (JSON) for Pillow's `save(pnginfo=...)`."""
    info = PngInfo()
    info.add_text(PARAMETERS, parameters(settings))
    info.add_text(SETTINGS, json.dumps(settings))
    return info


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings that made the PNG at `path`.

    Raises:
        RedilateError: it is no PNG that can be read, or carries no settings of Redilate.
    """
    try:
        with Image.open(path) as image:
            text = image.info.get(SETTINGS)
    except OSError as error:
        raise RedilateError(f"{path} is not a picture that can be read ({error})") from error
    if text is None:
        raise RedilateError(
            f"{path} carries no settings of Redilate; pictures that `redilate generate` writes as PNG do"
        )
    return json.loads(text)


def _quoted(value: object) -> str:
    """A value as A1111 writes it: in JSON's quotes where a comma, a colon or a line end would split it."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text
