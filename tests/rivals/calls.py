"""One call of a tiny pipeline's U-Net, without its loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def predict(pipe: Any, height: int, width: int, *, timestep: int = 901, batch: int = 1) -> Tensor:
    """What the U-Net predicts for noise of (batch, 4, height, width), at one of ten steps; always the same."""
    pipe.scheduler.set_timesteps(10)
    steps = pipe.scheduler.timesteps  # some schedulers only take their own, in their own precision
    asked = steps[(steps == timestep).nonzero().item()]
    return pipe.unet(noise(batch, height, width), asked, **conditions(pipe, batch)).sample


def noise(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))


def conditions(pipe: Any, batch: int = 1) -> dict[str, Any]:
    """A text, and for SDXL a pooled one and the sizes, different for each of the batch."""
    dice = torch.Generator().manual_seed(2)
    config = pipe.unet.config
    given: dict[str, Any] = {
        "encoder_hidden_states": torch.randn(batch, 5, config.cross_attention_dim, generator=dice)
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        given["added_cond_kwargs"] = {
            "text_embeds": torch.randn(batch, pooled, generator=dice),
            "time_ids": torch.tensor([[256.0, 256, 0, 0, 256, 256]]).repeat(batch, 1),
        }
    return given
