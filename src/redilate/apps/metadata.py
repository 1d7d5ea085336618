"""Picture files and the settings inside them: as A1111's text, and as JSON.

PNG has them in two text chunks, JPEG and WebP in two EXIF tags: `UserComment`, where A1111 and galleries look for the
text, and `ImageDescription` for the JSON.
"""

from __future__ import annotations

import json
import os
import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from redilate.atomic import replacing
from redilate.errors import RedilateError

from .command_line import PipelineOptions, addon_names, model_name

FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow's name of each format, by extension.
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
# The PNG text chunks with the JSON and with A1111's text.
_SETTINGS, _PARAMETERS = "redilate", "parameters"
# Before the JSON in EXIF's description, which other programs write too.
_MARK = "redilate:"
# EXIF's mark of a UTF-16 comment; the byte order is A1111's.
_UTF16 = b"UNICODE\0"
# A JPEG's segment without its length and the word "Exif".
_JPEG_HOLDS = 65_527
# Left for the plan, the versions and the rest when only the prompts are known.
_KEPT_FREE = 32_768

# diffusers' class → A1111's name of the sampler; others have their class name.
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
# Readers of the text take these for the end of the prompt.
_ENDS_PROMPT = re.compile(r"(Negative prompt|^[ \t]*Steps):", re.MULTILINE)


def parameters(settings: Mapping[str, Any]) -> str:
    """A generation's settings as A1111's `parameters` text: both prompts, then one line of `Name: value` pairs.

    In a prompt "Negative prompt:", or "Steps:" at a line's start, gets a space before the colon, so that readers do not
    end the prompt there; the JSON has it unchanged.
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
    """Arguments of Pillow's `save` for the settings in a file of the format `kind`; RedilateError if a JPEG is too
    small for them.
    """
    if kind == "PNG":
        info = PngInfo()
        info.add_text(_PARAMETERS, parameters(settings))
        info.add_text(_SETTINGS, json.dumps(settings))
        return {"pnginfo": info}
    exif = _exif(parameters(settings), _MARK + json.dumps(settings))
    if kind == "JPEG" and len(exif) > _JPEG_HOLDS:
        raise RedilateError(
            f"the settings take {len(exif)} bytes, and a JPEG holds {_JPEG_HOLDS}; PNG and WebP hold them"
        )
    return {"exif": exif}


def check_prompts(kind: str, prompt: str, negative: str | None) -> None:
    """RedilateError, before any work, for prompts that are not Unicode text or too long for a JPEG's settings."""
    text = f"{prompt}{negative or ''}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RedilateError(f"the prompt {text[:80]!r} is not UTF-8 text") from error
    if kind == "JPEG" and len(_exif(text, json.dumps(text))) > _JPEG_HOLDS - _KEPT_FREE:
        raise RedilateError(
            f"a JPEG can't hold prompts of {len(text)} characters among its settings; PNG and WebP can"
        )


def read_text(path: str | Path) -> tuple[str, tuple[int, int]]:
    """The JSON inside the picture at `path`, yet to be validated, and the picture's size (width, height)."""
    if not Path(path).is_file():
        raise RedilateError(f"there is no file {str(path)!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about many pixels and odd EXIF
            with Image.open(path, formats=FORMATS) as image:
                text = image.info.get(_SETTINGS)
                if image.format != "PNG":
                    said = str(image.getexif().get(ExifTags.Base.ImageDescription))
                    text = said.removeprefix(_MARK) if said.startswith(_MARK) else None
    # Pillow's exceptions for damaged files.
    except (
        OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, KeyError, IndexError, OverflowError,
        MemoryError, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise RedilateError(f"{path} is not a PNG, JPEG or WebP that can be read ({cause})") from error
    if not isinstance(text, str):
        raise RedilateError(f"{path} carries no settings of Redilate; pictures that `redilate` writes do")
    return text, image.size


def _exif(comment: str, description: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = description
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _UTF16 + comment.encode("utf-16-be")
    return exif.tobytes()


def _kept_whole(prompt: str) -> str:
    return _ENDS_PROMPT.sub(r"\1 :", prompt)


def _quoted(value: object) -> str:
    """A value as A1111 writes it: in JSON quotes if it has a comma, a colon or a line end."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text


def provenance(
    pipe: Any,
    model: str | None,
    options: PipelineOptions | None = None,
    *,
    controlnet: str | None = None,
    hires_model: str | None = None,
) -> dict[str, Any]:
    """The settings of a loaded pipeline: `model` (its name), `fingerprint`, `device` and `dtype`; and by name `vae`,
    `lora`, `controlnet` and `hires_model`, if they are not the model's own.
    """
    from redilate.pipelines.families import weights_fingerprint
    from redilate.pipelines.out_of_memory import execution_device

    others = {"controlnet": controlnet, "hires_model": hires_model}
    return {
        "model": model_name(model),
        **addon_names(options or PipelineOptions()),
        **{name: model_name(other) for name, other in others.items() if other is not None},
        "fingerprint": weights_fingerprint(pipe),
        "device": execution_device(pipe).type,
        "dtype": str(pipe.unet.dtype).removeprefix("torch."),
    }


def numbered(path: Path, count: int) -> list[Path]:
    """`count` paths: `apple.png` alone, or `apple-1.png`, `apple-2.png`, …"""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number}") for number in range(1, count + 1)]


def check_output(path: Path, extensions: Sequence[str]) -> None:
    """RedilateError unless `path` can be written and has one of `extensions`."""
    if path.suffix.lower() not in extensions:
        known = ", ".join(extensions)
        raise RedilateError(
            f"can't write {str(path)!r}: extension {path.suffix!r} is unknown; one of {known} works"
        )
    try:
        if path.is_dir():
            raise RedilateError(f"can't write {str(path)!r}: it is a folder")
        if not path.parent.is_dir():
            raise RedilateError(f"can't write {str(path)!r}: there is no folder {str(path.parent)!r}")
        _try_to_write(path.with_name(f".{path.name}.{os.getpid()}.tmp"))
    except OSError as error:
        raise RedilateError(f"can't write {str(path)!r}: {error.strerror}") from error


def check_folder(folder: Path) -> None:
    """Make `folder` if it is missing; RedilateError if no files can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(folder / f".{os.getpid()}.tmp")
    except OSError as error:
        raise RedilateError(f"can't write to the folder {str(folder)!r}: {error.strerror}") from error


def _try_to_write(probe: Path) -> None:
    # Permissions, read-only mounts and overlong names can only be tried.
    probe.touch()
    probe.unlink()


def save_picture(path: Path, image: Image.Image, settings: Mapping[str, Any] | None = None) -> None:
    """Write one picture atomically, with its settings inside if there are any."""
    with replacing(path) as temporary:
        temporary.write_bytes(picture_bytes(image, PICTURES[path.suffix.lower()], settings))


def picture_bytes(
    image: Image.Image, kind: str, settings: Mapping[str, Any] | None = None, quality: int | None = None
) -> bytes:
    """The bytes of a file of the format `kind`, one of `FORMATS`."""
    extra = {} if settings is None else embedding(kind, settings)
    if kind != "PNG" and quality is not None:
        extra["quality"] = quality
    out = BytesIO()
    image.save(out, format=kind, **extra)
    return out.getvalue()
