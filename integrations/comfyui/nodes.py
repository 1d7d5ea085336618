"""The nodes, in the form that every version of ComfyUI reads."""

from __future__ import annotations

from typing import Any

from . import exact, host, words
from .draw import draw
from .model import redilate_model


def _input(kind: Any, name: str) -> tuple[Any, dict[str, Any]]:
    return kind, {"tooltip": words.TIPS[name]}


class _Node:
    CATEGORY = words.CATEGORY
    FUNCTION = "execute"
    SEARCH_ALIASES = words.ALIASES


class RedilateUpscale(_Node):
    """See `draw.draw`."""

    DESCRIPTION = words.UPSCALE[1]
    RETURN_TYPES = ("IMAGE", "LATENT")
    OUTPUT_TOOLTIPS = ("At full size.", "The same, before it was decoded.")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": _input("MODEL", "model"),
                "vae": _input("VAE", "vae"),
                "positive": _input("CONDITIONING", "positive"),
                "negative": _input("CONDITIONING", "negative"),
                "width": ("INT", words.WIDTH),
                "height": ("INT", words.HEIGHT),
                "scale": ("FLOAT", words.SCALE),
                "strength": ("FLOAT", words.STRENGTH),
                "seed": ("INT", words.SEED),
                "steps": ("INT", words.STEPS),
                "cfg": ("FLOAT", words.CFG),
                "sampler_name": _input(host.sampler_names(), "sampler_name"),
                "scheduler": _input(host.scheduler_names(), "scheduler"),
            },
            "optional": {
                "image": _input("IMAGE", "image"),
                "latent": _input("LATENT", "latent"),
                "upscale_model": _input("UPSCALE_MODEL", "upscale_model"),
                "native_size": ("INT", words.NATIVE_SIZE),
                "plan": ("STRING", words.PLAN),
            },
        }

    def execute(self, model, vae, positive, negative, **settings):
        return draw(model, vae, positive, negative, **settings)


class RedilateModel(_Node):
    """See `model.redilate_model`."""

    DESCRIPTION = words.MODEL[1]
    RETURN_TYPES = ("MODEL",)
    OUTPUT_TOOLTIPS = ("The model, re-dilated at whatever size it is sampled at.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {"model": _input("MODEL", "model"), "native_size": ("INT", words.NATIVE_SIZE)},
            "optional": {"plan": ("STRING", words.PLAN)},
        }

    def execute(self, model, native_size, plan=""):
        return (redilate_model(model, native_size, plan),)


class RedilateVAEDecode(_Node):
    """See `exact.decode`."""

    CATEGORY = words.VAE_CATEGORY
    DESCRIPTION = words.DECODE[1]
    SEARCH_ALIASES = words.DECODE_ALIASES
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The picture.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"samples": _input("LATENT", "samples"), "vae": _input("VAE", "autoencoder")}}

    def execute(self, samples, vae):
        return (exact.decode(vae, samples["samples"]),)


class RedilateVAEEncode(_Node):
    """See `exact.encode`."""

    CATEGORY = words.VAE_CATEGORY
    DESCRIPTION = words.ENCODE[1]
    SEARCH_ALIASES = words.ENCODE_ALIASES
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Its latents.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"pixels": _input("IMAGE", "pixels"), "vae": _input("VAE", "autoencoder")}}

    def execute(self, pixels, vae):
        return ({"samples": exact.encode(vae, pixels)},)


NODE_CLASS_MAPPINGS = {
    "RedilateUpscale": RedilateUpscale,
    "RedilateModel": RedilateModel,
    "RedilateVAEDecode": RedilateVAEDecode,
    "RedilateVAEEncode": RedilateVAEEncode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "RedilateUpscale": words.UPSCALE[0],
    "RedilateModel": words.MODEL[0],
    "RedilateVAEDecode": words.DECODE[0],
    "RedilateVAEEncode": words.ENCODE[0],
}
