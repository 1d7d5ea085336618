"""What a person types, turned into what the engine takes, or refused in words that say what would work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from redilate.errors import RedilateError

if TYPE_CHECKING:
    import torch


def parse_size(text: str) -> tuple[int, int]:
    """`"1024x768"` → (1024, 768), width and height in pixels.

    Raises:
        RedilateError: not of the form WxH, or a side that is no positive multiple of 8.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", text)
    if match is None:
        raise RedilateError(f"size {text!r} is not of the form WxH; 1024x768, for example, works")
    width, height = int(match[1]), int(match[2])
    for name, side in (("width", width), ("height", height)):
        if side < 8 or side % 8:
            near = max(8, round(side / 8) * 8)
            raise RedilateError(f"size {text!r}: the {name} {side} is not a multiple of 8; {near} works")
    return width, height


def torch_dtype(name: str | None) -> torch.dtype | None:
    """`"float16"` → `torch.float16`; None stays None, which leaves the choice to the loader."""
    import torch

    return None if name is None else getattr(torch, name)


def check_device(name: str | None) -> None:
    """Make sure that torch knows the device and has it here; None, the loader's choice, always passes.

    Raises:
        RedilateError: unknown to torch, or not on this machine.
    """
    import torch

    if name is None:
        return
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    try:
        # Only trying tells for the rest: xpu, npu and other back-ends that plug into torch.
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RedilateError(
            f"device {name!r} is not to be had on this machine; {', '.join(here)} works"
        ) from error


def model_name(model: str | None) -> str:
    """What a picture's settings call the model: a hub id as it is, of a path the last part, as homes are private."""
    if model is None:
        return "bundled"
    return Path(model).resolve().name if Path(model).exists() else model


def lora_name(lora: str) -> str:
    """The same for a LoRA, with its weight if one is said."""
    from redilate.pipelines.addons import split_weight

    name, weight = split_weight(lora)
    return model_name(name) + (lora.removeprefix(name) if weight != 1 else "")
