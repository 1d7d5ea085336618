"""A ControlNet put beside a pipeline's own networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RedilateError


def with_controlnet(pipe: Any, name_or_path: str, *, image_to_image: bool = False) -> Any:
    """diffusers' own ControlNet pipeline around the networks of `pipe`.

    Args:
        pipe: a text-to-image pipeline, left as it is.
        name_or_path: the ControlNet: a folder in diffusers' layout or a hub name; safetensors only.
        image_to_image: the pipeline for a large leg, whose ControlNet is fed the enlarged picture.

    Raises:
        RedilateError: if there is no such ControlNet, or none fits the pipeline.
    """
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image, ControlNetModel

    auto = AutoPipelineForImage2Image if image_to_image else AutoPipelineForText2Image
    name = str(Path(name_or_path).resolve()) if Path(name_or_path).exists() else name_or_path
    try:
        net: Any = ControlNetModel.from_pretrained(name, use_safetensors=True, torch_dtype=pipe.unet.dtype)
        found = auto.from_pipe(pipe, controlnet=net.to(pipe.device))
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RedilateError(f"cannot use the ControlNet {name_or_path}: {first}") from error
    found.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return found
