"""The nodes, in the form that every version of ComfyUI reads, and what they say of themselves and of their inputs."""

from __future__ import annotations

from typing import Any

from redilate.plans.defaults import DEFAULTS

from . import exact, host
from .draw import draw
from .model import redilate_model


def _input(kind: Any, tooltip: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    return kind, settings | {"tooltip": tooltip}


_SIDE = {"min": 0, "max": 16384, "step": 8, "default": 0}
_MODEL = _input(
    "MODEL", "A Stable Diffusion 1.5, 2.1 or SDXL model; LoRAs and other patches before it keep working."
)
_NATIVE_SIZE = _input(
    "INT",
    "The side in pixels that the checkpoint was trained at; 0: told from the model. Illustrious 1.0 is 1536, Turbo "
    "512.",
    default=0,
    min=0,
    max=4096,
    step=8,
    advanced=True,
)
_PLAN = _input(
    "STRING",
    "A plan as JSON (redilate plan --output) in place of the one that follows from the size.",
    multiline=True,
    default="",
    advanced=True,
)
_VAE = _input("VAE", "That of SD 1.5, 2.1, SDXL or Flux; others are refused.")


class _Node:
    FUNCTION = "execute"
    CATEGORY = "model/patch/unet"  # beside Kohya Deep Shrink
    SEARCH_ALIASES = [  # noqa: RUF012
        "ScaleCrafter",
        "hires fix",
        "high resolution",
        "repetition",
        "double heads",
        "upscale",
        "dilation",
        "FreeScale",
    ]


class _VAENode:
    FUNCTION = "execute"
    CATEGORY = "model/latent"  # beside VAE Decode and VAE Encode


class RedilateUpscale(_Node):
    """See `draw.draw`."""

    DESCRIPTION = (
        "Draws large pictures: natively first, then enlarged and drawn on at each larger size with re-dilated "
        "convolutions, so that nothing is repeated. With an image it enlarges that. For U-Nets: SD 1.5, 2.1, SDXL."
    )
    RETURN_TYPES = ("IMAGE", "LATENT")
    OUTPUT_TOOLTIPS = ("At full size.", "The same, before it was decoded.")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": _MODEL,
                "vae": _input("VAE", "Legs meet in pixels, so it is needed between them."),
                "positive": _input("CONDITIONING", "What the picture shows."),
                "negative": _input("CONDITIONING", "What it does not show."),
                "width": _input(
                    "INT", "In pixels, a multiple of 8; 0: from the height, or from the scale.", **_SIDE
                ),
                "height": _input(
                    "INT", "In pixels, a multiple of 8; 0: from the width, or from the scale.", **_SIDE
                ),
                "scale": _input(
                    "FLOAT",
                    "Where width and height are 0: times the size of the picture, or of what the model was trained at.",
                    default=2.0,
                    min=1.0,
                    max=16.0,
                    step=0.1,
                ),
                "strength": _input(
                    "FLOAT",
                    "The noise level that the first large leg starts at. Low keeps the picture before, high invents; 1 "
                    "draws everything at full size.",
                    default=DEFAULTS["sdxl"].strength,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                ),
                "seed": _input(
                    "INT",
                    "Of the noise of the first leg; the others' follow from it.",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                ),
                "steps": _input(
                    "INT",
                    "Of a whole denoising; a large leg takes the share that its strength leaves it.",
                    default=25,
                    min=1,
                    max=10000,
                ),
                "cfg": _input(
                    "FLOAT",
                    "Classifier-free guidance of every leg; 1: none.",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                ),
                "sampler_name": _input(host.sampler_names(), "Of every leg."),
                "scheduler": _input(
                    host.scheduler_names(),
                    "Of the native leg; a large leg's steps are spread evenly in noise level.",
                ),
            },
            "optional": {
                "image": _input("IMAGE", "A picture to enlarge, in place of a first leg."),
                "latent": _input(
                    "LATENT",
                    "A picture to enlarge, as latents; an empty latent says how many pictures are drawn.",
                ),
                "upscale_model": _input(
                    "UPSCALE_MODEL", "Enlarges the pixels between legs, in place of Lanczos' filter."
                ),
                "native_size": _NATIVE_SIZE,
                "plan": _PLAN,
            },
        }

    def execute(self, model, vae, positive, negative, **settings):
        return draw(model, vae, positive, negative, **settings)


class RedilateModel(_Node):
    """See `model.redilate_model`."""

    DESCRIPTION = (
        "For your own workflow: put it between the loader and KSampler, and sample larger than the model was trained "
        "for. Its convolutions see as much of the picture as in training. For U-Nets: SD 1.5, 2.1, SDXL."
    )
    RETURN_TYPES = ("MODEL",)
    OUTPUT_TOOLTIPS = ("The model, re-dilated at whatever size it is sampled at.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"model": _MODEL, "native_size": _NATIVE_SIZE}, "optional": {"plan": _PLAN}}

    def execute(self, model, native_size, plan=""):
        return (redilate_model(model, native_size, plan),)


class RedilateVAEDecode(_VAENode):
    """See `exact.decode`."""

    DESCRIPTION = (
        "Decodes latents of any size in strips: what VAE Decode gives, in a sixth of the memory and "
        "without tiles."
    )
    SEARCH_ALIASES = ["VAE decode", "tiled", "seams", "out of memory"]  # noqa: RUF012
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The picture.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"samples": _input("LATENT", "Latents of any size."), "vae": _VAE}}

    def execute(self, samples, vae):
        return (exact.decode(vae, samples["samples"]),)


class RedilateVAEEncode(_VAENode):
    """See `exact.encode`."""

    DESCRIPTION = (
        "Encodes a picture of any size in strips: what VAE Encode gives, in little memory and without tiles."
    )
    SEARCH_ALIASES = ["VAE encode", "tiled", "seams", "out of memory"]  # noqa: RUF012
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Its latents.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"pixels": _input("IMAGE", "A picture of any size."), "vae": _VAE}}

    def execute(self, pixels, vae):
        return ({"samples": exact.encode(vae, pixels)},)


NODE_CLASS_MAPPINGS = {
    node.__name__: node for node in (RedilateUpscale, RedilateModel, RedilateVAEDecode, RedilateVAEEncode)
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "RedilateUpscale": "Redilate Upscale",
    "RedilateModel": "Redilate Model",
    "RedilateVAEDecode": "Redilate VAE Decode (exact)",
    "RedilateVAEEncode": "Redilate VAE Encode (exact)",
}
