"""Which pipelines can draw from text alone or from a picture, and what their safety checkers answer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from ..errors import RedilateError
from .families import controlnets_of, unet_of

_INPAINTING_CHANNELS = 9


def check_pictures(pipe: Any) -> None:
    """RedilateError for a pipeline that makes video."""
    takes = inspect.signature(type(pipe).__call__).parameters
    if "num_frames" in takes or type(unet_of(pipe)).__name__.startswith(
        ("UNetMotion", "UNetSpatioTemporal", "UNet3D")
    ):
        raise RedilateError(
            f"{type(pipe).__name__} makes video, and generate, enlarge and edit make pictures; call "
            "redilate.apply(pipe), then the pipeline itself"
        )


def check_text_to_image(pipe: Any) -> None:
    """RedilateError, with what would work, unless `pipe` draws pictures from a prompt."""
    check_pictures(pipe)
    unet: Any = unet_of(pipe)
    name = type(pipe).__name__
    takes = inspect.signature(type(pipe).__call__).parameters
    if "mask_image" in takes or getattr(unet.config, "in_channels", 4) == _INPAINTING_CHANNELS:
        raise RedilateError(
            f"{name} fills in a masked picture; redilate.edit(pipe, prompt, image, mask=…) does that at any size"
        )
    if "strength" in takes or ("image" in takes and not controlnets_of(pipe)):
        raise RedilateError(
            f"{name} starts from a picture; redilate.enlarge or redilate.edit take one, and generate works with the "
            "text-to-image pipeline of the same model: AutoPipelineForText2Image.from_pipe(pipe)"
        )
    if "width" not in takes or "height" not in takes:
        raise RedilateError(
            f"{name} takes no width and height; the text-to-image pipelines of Stable Diffusion and SDXL do"
        )


def check_from_picture(pipe: Any) -> None:
    """RedilateError unless the U-Net of `pipe` takes the latents of a picture alone, with no mask beside them."""
    config: Any = unet_of(pipe).config
    latents = getattr(getattr(getattr(pipe, "vae", None), "config", None), "latent_channels", None)
    if latents is None or config.in_channels == latents:
        return
    if config.in_channels == _INPAINTING_CHANNELS:
        raise RedilateError(
            "this model's U-Net only fills in masked pictures (9 channels); redilate.edit(pipe, prompt, image, "
            "mask=…) does that, and to enlarge or edit a whole picture takes the model that it was made from"
        )
    raise RedilateError(
        f"this model's U-Net takes {config.in_channels} channels, more than a picture's {latents} latents; "
        "text-to-image models work"
    )


def check_controlnets(pipe: Any, follows: bool) -> None:
    """RedilateError unless each ControlNet of `pipe` fits its U-Net and has a picture to follow.

    Args:
        follows: whether there is such a picture.
    """
    wanted = getattr(unet_of(pipe).config, "cross_attention_dim", None)
    for net in controlnets_of(pipe):
        has = getattr(net.config, "cross_attention_dim", wanted)
        if has != wanted:
            raise RedilateError(
                f"the ControlNet belongs to another family of models: it reads prompts {has} numbers wide, and this "
                f"model's are {wanted}; one that was trained for this family works"
            )
        if not follows:
            raise RedilateError(
                f"{type(pipe).__name__} has a ControlNet and no picture for it to follow; extra={{'image': picture}} "
                "gives it one, and in the command --controlnet with --control"
            )


# Stable Diffusion's name for it, and DeepFloyd IF's.
_FIELDS = ("nsfw_content_detected", "nsfw_detected")


def blacked_out(result: Any) -> list[int]:
    """Which pictures of a pipeline's result its safety checker has replaced by black ones, counted from 0.

    Args:
        result: what the pipeline's `__call__` returned; one without a safety checker says None, or has no such field.
    """
    for name in _FIELDS:
        found = getattr(result, name, None)
        if isinstance(found, Iterable):
            return [index for index, unsafe in enumerate(found) if unsafe]
    return []
