"""An early look at a picture that is still being denoised."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from .families import native_latents


@torch.no_grad()
def preview(pipe: Any, latents: Tensor) -> Image.Image:
    """What latents hold so far, decoded at no more than the native size, whatever the picture's.

    Averaging larger latents down keeps the look cheap and takes noise out of it; early ones are still noisy.

    Args:
        pipe: a pipeline with a `vae`.
        latents: (1, channels, height, width), between two steps.
    """
    vae = pipe.vae
    most = max(native_latents(pipe.unet))
    height, width = latents.shape[-2:]
    if max(height, width) > most:
        shrink = most / max(height, width)
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        latents = nn.functional.interpolate(latents.float(), size, mode="area").to(latents.dtype)
    dtype = vae.dtype
    # SDXL's autoencoder overflows in float16; diffusers does the same before it decodes.
    upcast = dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    try:
        if upcast:
            vae.to(torch.float32)
        pixels = vae.decode(_denormalised(vae.config, latents.to(vae.dtype)), return_dict=False)[0]
    finally:
        if upcast:
            vae.to(dtype)
    return pipe.image_processor.postprocess(pixels.float(), output_type="pil")[0]


def _denormalised(config: Any, latents: Tensor) -> Tensor:
    """From what the U-Net sees to what the decoder takes, as the pipelines do it."""
    latents = latents / config.scaling_factor
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or deviation is None:
        return latents
    shape = (1, -1, 1, 1)
    return latents * latents.new_tensor(deviation).view(shape) + latents.new_tensor(mean).view(shape)
