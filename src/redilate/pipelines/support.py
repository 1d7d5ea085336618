"""What a pipeline supports: layers that can be re-dilated, drawing from text or from a picture, and its image-to-image
counterpart.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..decoding.steps import at_working_type, rescale
from ..errors import RedilateError
from ..plans.plan import block_of, convolutions, count_resolution_levels, in_order, resolution_level
from .families import controlnets_of, unet_of

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


# The modules of diffusers' cache hooks.
_CACHE_FILES = re.compile(r"\.(\w+_cache|taylorseer_cache|pyramid_attention_broadcast)$")


def redilatable(root: nn.Module) -> dict[str, list[nn.Conv2d]]:
    """Every convolution of `root` that a plan may name, as `plans.plan.convolutions`.

    Raises:
        RedilateError: for a network without any, and for one with convolutions that do not compute through
            `_conv_forward` (quantised ones), adapters that compute them otherwise (DoRA), or caches that skip parts.
    """
    found = convolutions(root)
    if not found:
        raise RedilateError(f"{type(root).__name__} has no spatial convolutions in its blocks to re-dilate")
    for name, module in root.named_modules():
        if reason := _cached(module) or (_out_of_reach(module) if block_of(name) else None):
            where = f"{type(root).__name__}'s {name}" if name else type(root).__name__
            raise RedilateError(f"{where} cannot be re-dilated: {reason}")
    return found


def _cached(module: nn.Module) -> str | None:
    """Why a cache prevents re-dilation, if one does: it may return features of another dilation."""
    registry = module.__dict__.get("_diffusers_hook")
    for label, hook in getattr(registry, "hooks", {}).items():
        if _CACHE_FILES.search(type(hook).__module__):
            return f"the cache {label!r} is at work on it; disable the cache first"
    forward = module.__dict__.get("forward")
    if forward is None or registry is not None or _computes_the_same(module, forward):
        return None
    return "its forward has been replaced, as DeepCache and other caches do; disable that first"


def _computes_the_same(module: nn.Module, forward: Any) -> bool:
    """Whether an instance's forward only wraps its class's, as accelerate's hooks and torch.compile do."""
    if getattr(forward, "__func__", None) is type(module).forward or hasattr(
        forward, "_torchdynamo_orig_callable"
    ):
        return True
    wrapper = getattr(forward, "func", None)  # of a functools.partial
    if not getattr(wrapper, "__module__", "").startswith("accelerate."):
        return False
    return _computes_the_same(module, getattr(module, "_old_forward", None))


def _out_of_reach(module: nn.Module) -> str | None:
    """Why a module's convolution cannot be re-dilated, if it cannot."""
    if isinstance(module, nn.Conv2d):
        return _quantised(module) if max(module.kernel_size) > 1 else None
    inner = getattr(module, "base_layer", None)
    if isinstance(inner, nn.Conv2d) and max(inner.kernel_size) > 1:
        return _adapter(module)
    kernel = getattr(module, "kernel_size", None)
    if isinstance(kernel, tuple) and len(kernel) == 2 and max(kernel) > 1 and hasattr(module, "weight"):
        return f"it is a {_full_name(module)}, a quantised convolution; dequantise it"
    return None


def _quantised(conv: nn.Conv2d) -> str | None:
    forward = type(conv).forward
    # A library's subclass must still call `_conv_forward`.
    if not {"_conv_forward", "forward"} & set(forward.__code__.co_names) and forward is not nn.Conv2d.forward:
        return f"it is a {_full_name(conv)}, which computes for itself"
    weight = type(conv.weight.data)
    if weight is not torch.Tensor:
        return f"its weight is a {weight.__module__}.{weight.__qualname__}, a quantised one; dequantise it"
    return None


def _adapter(layer: nn.Module) -> str | None:
    if getattr(layer, "merged", False) or getattr(layer, "disable_adapters", False):
        return None  # only the base layer computes
    if len(getattr(layer, "lora_magnitude_vector", ())):
        return "a DoRA adapter computes the convolution for itself; merge it with fuse_lora() or remove it"
    if not hasattr(layer, "lora_A"):
        return f"the adapter {_full_name(layer)} computes the convolution for itself; merge or remove it"
    return None


def _full_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def self_attentions(root: nn.Module) -> dict[str, Attention]:
    """Every self-attention among the pixels of a feature map, by name."""
    from diffusers.models.attention_processor import Attention

    return {
        name: module
        for name, module in root.named_modules()
        # Kandinsky's has the text among its keys.
        if isinstance(module, Attention)
        and not module.is_cross_attention
        and module.added_kv_proj_dim is None
    }


def windowable(unet: nn.Module) -> dict[str, tuple[nn.Module, int]]:
    """Name → (self-attention, its level), in order, for those whose tokens are the pixels of one map (not frames).

    Each side of a map at level l is that of the latents divided by 2^l, rounded up.
    """
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    names = [name for name, _ in unet.named_modules() if block_of(name)]
    levels = count_resolution_levels(names)
    found: dict[str, tuple[nn.Module, int]] = {
        f"{outer}.{inner}": (attention, resolution_level(outer, levels))
        for outer, transformer in unet.named_modules()
        if isinstance(transformer, Transformer2DModel) and block_of(outer)
        for inner, attention in self_attentions(transformer).items()
    }
    return in_order(found)


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
    """RedilateError unless `pipe` draws pictures from a prompt."""
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
    """RedilateError unless the U-Net of `pipe` takes the latents of a picture and nothing else."""
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
    """RedilateError unless each ControlNet of `pipe` fits its U-Net and has a picture to follow (`follows`)."""
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
    """The indices of a pipeline's pictures that its safety checker has replaced by black ones.

    Args:
        result: the return value of the pipeline's `__call__`.
    """
    for name in _FIELDS:
        found = getattr(result, name, None)
        if isinstance(found, Iterable):
            return [index for index, unsafe in enumerate(found) if unsafe]
    return []


def image_to_image(pipe: Any) -> Any:
    """diffusers' image-to-image pipeline with the networks of `pipe` (LoRA, IP-Adapter, ControlNet too) and a scheduler
    of its own.

    Raises:
        RedilateError: if diffusers has no such pipeline for `pipe`, or it makes video or has no `vae`.
    """
    from diffusers import AutoPipelineForImage2Image

    return _sharing(pipe, AutoPipelineForImage2Image, "image-to-image")


def inpainting(pipe: Any) -> Any:
    """diffusers' inpainting pipeline; as `image_to_image`."""
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
        # Some of diffusers' constructors fail on an incomplete U-Net configuration.
        raise RedilateError(f"diffusers makes no {task} pipeline of this {name}: {error}") from error
    if getattr(other, "vae", None) is None:
        raise RedilateError(f"{name} has no vae to encode a picture with; Stable Diffusion and SDXL have one")
    other.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return other


@torch.no_grad()
def encode(pipe: Any, image: Image.Image) -> Tensor:
    """The latents of a picture, scaled for the U-Net: (1, channels, height / 8, width / 8).

    The mode of the encoder's distribution, so it depends on no seed.
    """
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import retrieve_latents

    pixels = pipe.image_processor.preprocess(image)
    with at_working_type(pipe.vae) as dtype:
        found = pipe.vae.encode(pixels.to(pipe._execution_device, dtype))
    latents = retrieve_latents(found, sample_mode="argmax")
    return rescale(pipe.vae, latents).to(pipe.unet.dtype)
