"""What a model may be called, and what can be refused of a name before anything is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from ..errors import RedilateError
from .families import SUPPORTED

Loaded = TypeVar("Loaded")

# owner/name, as the hub spells it; a bare word is taken for a folder that is missing.
HUB_NAME = re.compile(r"^[\w-][\w.-]*/[\w.-]+$")
_CHECKPOINTS = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}

BUNDLED = Path(__file__).parent.parent / "bundled" / "model"


def check_model(name_or_path: str | Path | None) -> None:
    """Refuse, before anything is loaded, a path that is not there and a folder whose pipeline has no U-Net.

    Raises:
        RedilateError: naming what is wrong. A hub name can only be tried.
    """
    if name_or_path is None:
        if not (BUNDLED / "model_index.json").exists():
            raise RedilateError(
                "this installation lacks its bundled model; name one with a path or a hub name"
            )
        return
    path = Path(name_or_path)
    if path.is_dir():
        index = path / "model_index.json"
        if not index.exists():
            raise RedilateError(f"{path} is not a diffusers model: it has no model_index.json")
        try:
            parts = json.loads(index.read_text())
        except ValueError as error:
            raise RedilateError(f"{index} is not JSON: {error}") from error
        if "unet" not in parts:
            kind = parts.get("_class_name", "its pipeline")
            raise RedilateError(
                f"{kind} has no diffusion U-Net: a transformer (Flux, SD3, PixArt) has no convolutions to re-dilate; "
                f"supported are {SUPPORTED}"
            )
    elif path.is_file():
        if path.suffix != ".safetensors":
            raise RedilateError(f"{path} is not a .safetensors file; pickled checkpoints are not loaded")
    elif path.suffix in _CHECKPOINTS or not HUB_NAME.match(str(name_or_path)):
        raise RedilateError(
            f"there is no model at {name_or_path}; a folder, a .safetensors file or a hub's owner/name works, "
            "and the bundled model is taken where none is named"
        )


def check_config(source: Path, config: Path) -> None:
    """Refuse a `config` that `source` has no use for, or that is no model.

    Raises:
        RedilateError: naming what is wrong.
    """
    if not source.is_file():
        raise RedilateError(
            "config= belongs to a checkpoint of a single file; a folder or a hub name has its own"
        )
    if not (config / "model_index.json").exists():
        raise RedilateError(
            f"{config} is not a diffusers model to take as config=: it has no model_index.json"
        )


def refusing(what: str, take: Callable[[], Loaded]) -> Loaded:
    """`take()`, with what a loader says of missing or broken files in one line."""
    from safetensors import SafetensorError

    try:
        return take()
    except RedilateError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise refused(what, error) from error


def refused(what: str, error: BaseException) -> RedilateError:
    """What a loader says, in one line."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return RedilateError(f"cannot load {what}: {first}")


def dtype_argument(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The argument of diffusers' loaders that names the weights' type: 0.40 renamed it, and warns of the old one."""
    import diffusers

    major, minor = map(int, diffusers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (0, 40) else "torch_dtype": dtype}
