"""Checkpoints of one file, in Stable Diffusion's original layout, as most fine-tunes are passed around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import RedilateError
from .families import SUPPORTED
from .names import dtype_argument

_UNET = "model.diffusion_model.input_blocks."
_SECOND_ENCODER = "conditioner.embedders.1."
_REFINER = "conditioner.embedders.0.model."
_LORA = (".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", "lora_unet_")


def single_file_pipeline(
    path: Path, dtype: torch.dtype, config: str | Path | None, parts: dict[str, Any] | None = None
) -> Any:
    """The text-to-image pipeline in a `.safetensors` file; SDXL's is told from SD's by its second text encoder.

    A file that says of itself that it predicts v (keys without weight, as NoobAI-XL has them) gets a scheduler that
    knows it. The file's name stands for the model's, because native sizes are known by it: the file itself looks
    like its base.

    Args:
        path: the file.
        dtype: of the weights.
        config: a folder in diffusers' layout to take configurations and tokenizers from; None: the hub's.
        parts: networks in place of the file's own, by the pipeline's names.

    Raises:
        RedilateError: if it is none: a transformer's checkpoint, a LoRA, an autoencoder alone, the SDXL refiner.
    """
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        keys = set(file.keys())
    _check_keys(path, keys)
    is_xl = any(key.startswith(_SECOND_ENCODER) for key in keys)
    kind = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
    source = {} if config is None else {"config": str(config), "local_files_only": True}
    try:
        pipe = kind.from_single_file(str(path), **dtype_argument(dtype), **source, **(parts or {}))
    except AttributeError as error:  # transformers 5.6 laid its text encoders out anew
        raise RedilateError(
            f"this diffusers cannot read single files with this transformers ({error}); a newer diffusers can"
        ) from error
    pipe.register_to_config(_name_or_path=path.name)
    if "v_pred" in keys:
        known = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in keys}
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **known)
    return pipe


def _check_keys(path: Path, keys: set[str]) -> None:
    if any(key.startswith(_REFINER) for key in keys):
        raise RedilateError(
            f"{path} is the SDXL refiner, which draws from pictures: load it with "
            "StableDiffusionXLImg2ImgPipeline.from_single_file and call redilate.apply on that"
        )
    if any(key.startswith(_UNET) for key in keys):
        return
    if any(part in key for key in keys for part in _LORA):
        raise RedilateError(
            f"{path} is a LoRA, not a model: load the model it belongs to, then pipe.load_lora_weights()"
        )
    raise RedilateError(
        f"{path} has no Stable Diffusion U-Net in the layout of single files (input_blocks, output_blocks); a "
        f"transformer (Flux, SD3, PixArt) has no convolutions to re-dilate; supported are {SUPPORTED}"
    )
