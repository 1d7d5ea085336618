"""Loading a pipeline by folder, single file or hub name; the bundled model when there is no name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import RedilateError
from .families import SUPPORTED, unet_of
from .single_file import dtype_argument, single_file_pipeline

# owner/name, as the hub spells it; a bare word is taken for a folder that is missing.
_HUB_NAME = re.compile(r"^[\w-][\w.-]*/[\w.-]+$")
_CHECKPOINTS = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}

BUNDLED = Path(__file__).parent.parent / "bundled" / "model"


def load(
    name_or_path: str | Path | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    config: str | Path | None = None,
) -> Any:
    """Load a text-to-image pipeline, from safetensors only.

    Args:
        name_or_path: a folder in diffusers' layout, a single `.safetensors` checkpoint, a hub name, or None for the
            small model that comes with Redilate (256×256, shaded emoji).
        dtype: of the weights; None: float16 on an accelerator, float32 on a CPU.
        device: where to; None: "cuda" or "mps" where there is one, else "cpu".
        config: for a single file, the folder of a model of its kind in diffusers' layout, whose configurations and
            tokenizers it takes, as the file has none; None: those of its base model, from the hub.

    Raises:
        RedilateError: if nothing can be loaded under that name, or it has no U-Net.
    """
    from diffusers import DiffusionPipeline
    from safetensors import SafetensorError

    check_model(name_or_path)
    device = device or default_device()
    dtype = dtype or (torch.float32 if device == "cpu" else torch.float16)
    source = Path(name_or_path) if name_or_path is not None else BUNDLED
    if config is not None:
        _check_config(source, Path(config))
    try:
        if source.is_file():
            pipe = single_file_pipeline(source, dtype, config)
        else:
            name = str(source) if source.exists() else str(name_or_path)
            pipe = DiffusionPipeline.from_pretrained(name, use_safetensors=True, **dtype_argument(dtype))
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RedilateError(
            f"cannot load the model {name_or_path or 'bundled with Redilate'}: {first}"
        ) from error
    unet = unet_of(pipe)
    if torch.device(device).type == "cpu":
        _channels_last(unet)
    return pipe.to(device)


def _channels_last(unet: nn.Module) -> None:
    """Keep the kernels as a CPU's convolutions want them, which is faster and spares their copies of all features."""
    for module in unet.modules():
        if isinstance(module, nn.Conv2d):  # and no Conv3d, which has five axes
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last)


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
    elif path.suffix in _CHECKPOINTS or not _HUB_NAME.match(str(name_or_path)):
        raise RedilateError(
            f"there is no model at {name_or_path}; a folder, a .safetensors file or a hub's owner/name works, "
            "and the bundled model is taken where none is named"
        )


def default_device() -> str:
    """The best device here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_config(source: Path, config: Path) -> None:
    if not source.is_file():
        raise RedilateError(
            "config= belongs to a checkpoint of a single file; a folder or a hub name has its own"
        )
    if not (config / "model_index.json").exists():
        raise RedilateError(
            f"{config} is not a diffusers model to take as config=: it has no model_index.json"
        )
