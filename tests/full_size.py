"""The U-Nets that people use, at full size, on the meta device: every module and no memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers import UNet2DConditionModel

_SD = {"block_out_channels": (320, 640, 1280, 1280), "sample_size": 64}
_SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "sd15": _SD | {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd21": _SD
    | {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "sdxl": _SDXL,
    "sdxl-refiner": _SDXL
    | {
        "block_out_channels": (384, 768, 1536, 1536),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": 4,
        "attention_head_dim": (6, 12, 24, 24),
        "cross_attention_dim": 1280,
        "projection_class_embeddings_input_dim": 2560,
    },
}


@cache
def full_size_unet(family: str) -> UNet2DConditionModel:
    """The U-Net of `family` with the published configuration, its parameters on the meta device; not to be changed."""
    with torch.device("meta"):
        return UNet2DConditionModel(**CONFIGURATIONS[family])
