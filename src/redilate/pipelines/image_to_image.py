"""The image-to-image pipeline around another pipeline's parts, and pictures as its latents."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import RedilateError
from .families import unet_of


def image_to_image(pipe: Any) -> Any:
    """diffusers' own image-to-image pipeline that shares every network of `pipe`, with a scheduler of its own.

    LoRA, IP-Adapter and ControlNet are parts of the networks and come along. Where the scheduler knows spacings it is
    set to "trailing": the few steps of a stage then start at the level asked for, where "leading" wastes the last one
    on a level of nearly 0 (Lin et al. 2023, arXiv 2305.08891, section 3.3).

    Raises:
        RedilateError: if diffusers has no such pipeline for `pipe`, or it has no `vae`.
    """
    from diffusers import AutoPipelineForImage2Image

    unet_of(pipe)
    name = type(pipe).__name__
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    if "timestep_spacing" in inspect.signature(type(scheduler).__init__).parameters:
        scheduler = type(scheduler).from_config(scheduler.config, timestep_spacing="trailing")
    try:
        other = AutoPipelineForImage2Image.from_pipe(pipe, scheduler=scheduler)
    except ValueError as error:
        raise RedilateError(
            f"diffusers has no image-to-image pipeline for {name}; Stable Diffusion's, SDXL's and their ControlNet "
            "pipelines have one"
        ) from error
    if getattr(other, "vae", None) is None:
        raise RedilateError(f"{name} has no vae to encode a picture with; Stable Diffusion and SDXL have one")
    other.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return other


@torch.no_grad()
def encode(pipe: Any, image: Image.Image) -> Tensor:
    """The latents of a picture as the pipeline's U-Net knows them: (1, channels, height / 8, width / 8).

    The mode of the encoder's distribution, so that nothing depends on a seed.
    """
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import retrieve_latents

    vae = pipe.vae
    dtype = vae.dtype
    # SDXL's autoencoder overflows in float16; diffusers does the same before it decodes.
    upcast = dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    pixels = pipe.image_processor.preprocess(image)
    try:
        if upcast:
            vae.to(torch.float32)
        found = vae.encode(pixels.to(pipe._execution_device, torch.float32 if upcast else dtype))
    finally:
        if upcast:
            vae.to(dtype)
    latents = retrieve_latents(found, sample_mode="argmax")
    config = vae.config
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        latents = (latents - latents.new_tensor(mean).view(shape)) / latents.new_tensor(deviation).view(shape)
    return (latents * config.scaling_factor).to(unet_of(pipe).dtype)
