"""The image-to-image pipeline around another pipeline's parts, and pictures as its latents."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import RedilateError
from .families import unet_of
from .kinds import check_pictures


def image_to_image(pipe: Any) -> Any:
    """diffusers' own image-to-image pipeline that shares every network of `pipe`, with a scheduler of its own.

    LoRA, IP-Adapter and ControlNet are parts of the networks and come along.

    Raises:
        RedilateError: if diffusers has no such pipeline for `pipe`, or it makes video or has no `vae`.
    """
    from diffusers import AutoPipelineForImage2Image

    return _sharing(pipe, AutoPipelineForImage2Image, "image-to-image")


def inpainting(pipe: Any) -> Any:
    """The same for diffusers' inpainting pipeline."""
    from diffusers import AutoPipelineForInpainting

    return _sharing(pipe, AutoPipelineForInpainting, "inpainting")


def _sharing(pipe: Any, auto: Any, task: str) -> Any:
    check_pictures(pipe)
    name = type(pipe).__name__
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    try:
        other = auto.from_pipe(pipe, scheduler=scheduler)
    except ValueError as error:
        raise RedilateError(
            f"diffusers has no {task} pipeline for {name}; Stable Diffusion's, SDXL's and their ControlNet "
            "pipelines have one"
        ) from error
    except TypeError as error:
        # Some of diffusers' constructors read a U-Net's configuration without asking whether it is complete.
        raise RedilateError(f"diffusers makes no {task} pipeline of this {name}: {error}") from error
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
