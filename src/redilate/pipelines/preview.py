"""A preview of a picture that is still being denoised."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..decoding.steps import at_working_type, unscale
from .families import native_latents


@torch.no_grad()
def preview(pipe: Any, latents: Tensor) -> Image.Image:
    """Latents between two steps decoded at no more than the native size.

    Larger latents are averaged down, which is fast and removes some noise.

    Args:
        pipe: a pipeline with a `vae`.
        latents: (1, channels, height, width).
    """
    vae = pipe.vae
    most = max(native_latents(pipe.unet))
    height, width = latents.shape[-2:]
    if max(height, width) > most:
        shrink = most / max(height, width)
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        latents = nn.functional.interpolate(latents.float(), size, mode="area").to(latents.dtype)
    with at_working_type(vae) as dtype:
        pixels = vae.decode(unscale(vae, latents.to(dtype)), return_dict=False)[0]
    return pipe.image_processor.postprocess(pixels.float(), output_type="pil")[0]
