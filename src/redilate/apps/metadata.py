"""The settings inside a picture: as A1111 writes them for people and galleries, and as JSON for Redilate.

A PNG has them in two text chunks, JPEG and WebP in two EXIF tags: `UserComment`, where A1111 and the galleries that
read it look for the text, and `ImageDescription` for the JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from redilate.errors import RedilateError

from .embedded import FORMATS as FORMATS
from .embedded import MARK, SETTINGS

# The PNG text chunk of the text for people.
PARAMETERS = "parameters"
# How EXIF says that a comment is UTF-16; the byte order is A1111's.
_UTF16 = b"UNICODE\0"
# One segment of a JPEG, less its length and the word "Exif".
_JPEG_HOLDS = 65_527
# What is kept free for the plan, the versions and the rest when only the prompts are known yet.
_KEPT_FREE = 32_768

# What A1111 calls the samplers that diffusers has as these classes; any other goes by its class.
_SAMPLERS = {
    "DDIMScheduler": "DDIM",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "EulerDiscreteScheduler": "Euler",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "KDPM2DiscreteScheduler": "DPM2",
    "LCMScheduler": "LCM",
    "LMSDiscreteScheduler": "LMS",
    "PNDMScheduler": "PLMS",
    "UniPCMultistepScheduler": "UniPC",
}
# By these, readers of the text tell where the prompt ends.
_ENDS_PROMPT = re.compile(r"(Negative prompt|^[ \t]*Steps):", re.MULTILINE)


def parameters(settings: Mapping[str, Any]) -> str:
    """The settings as A1111's `parameters` text: the prompt, the negative prompt, one line of `Name: value` pairs.

    `settings` is a generation's (`prompt`, `negative`, `width`, `height`, `seed`, `steps`, `guidance`, `method`,
    `versions`), with the command's own `model` and `scheduler` where they are known. Samplers have A1111's names. Where
    a prompt itself has "Negative prompt:", or a line with "Steps:" first, a space before the colon keeps readers from
    ending the prompt there; the JSON has it as it was.
    """
    scheduler = settings.get("scheduler")
    pairs = {
        "Steps": settings["steps"],
        "Sampler": _SAMPLERS.get(str(scheduler), scheduler),
        "CFG scale": settings["guidance"],
        "Seed": settings["seed"],
        "Size": f"{settings['width']}x{settings['height']}",
        "Model": settings.get("model"),
        "Denoising strength": settings.get("strength"),
        "Method": settings["method"],
        "Version": f"redilate {settings['versions']['redilate']}",
    }
    lines = [_kept_whole(settings["prompt"])]
    if settings.get("negative"):
        lines.append(f"Negative prompt: {_kept_whole(settings['negative'])}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items() if value is not None))
    return "\n".join(lines)


def embedding(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What Pillow's `save` takes, beside the format `kind` (one of `FORMATS`), for the settings to be in the file.

    Raises:
        RedilateError: more than a JPEG holds.
    """
    if kind == "PNG":
        info = PngInfo()
        info.add_text(PARAMETERS, parameters(settings))
        info.add_text(SETTINGS, json.dumps(settings))
        return {"pnginfo": info}
    exif = _exif(parameters(settings), MARK + json.dumps(settings))
    if kind == "JPEG" and len(exif) > _JPEG_HOLDS:
        raise RedilateError(
            f"the settings take {len(exif)} bytes, and a JPEG holds {_JPEG_HOLDS}; PNG and WebP hold them"
        )
    return {"exif": exif}


def check_prompts(kind: str, prompt: str, negative: str | None) -> None:
    """Make sure, before any work, that a picture of this kind can hold the prompts, and the rest beside them.

    Raises:
        RedilateError: prompts that are no Unicode text, or too long for a JPEG.
    """
    text = f"{prompt}{negative or ''}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RedilateError(f"the prompt {text[:80]!r} is not UTF-8 text") from error
    if kind == "JPEG" and len(_exif(text, json.dumps(text))) > _JPEG_HOLDS - _KEPT_FREE:
        raise RedilateError(
            f"a JPEG can't hold prompts of {len(text)} characters among its settings; PNG and WebP can"
        )


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings that made the picture at `path`, checked by `recorded.Recorded`.

    Raises:
        RedilateError: it can't be read, carries no settings of Redilate, or damaged ones.
    """
    from .recorded import Recorded  # imports torch

    return Recorded.read(path).settings


def _exif(comment: str, description: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = description
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _UTF16 + comment.encode("utf-16-be")
    return exif.tobytes()


def _kept_whole(prompt: str) -> str:
    return _ENDS_PROMPT.sub(r"\1 :", prompt)


def _quoted(value: object) -> str:
    """A value as A1111 writes it: in JSON's quotes where a comma, a colon or a line end would split it."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text
