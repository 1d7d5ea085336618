"""The same nodes in the form that ComfyUI had before V3."""

from __future__ import annotations

from .model import redilate_model
from .relay import relay
from .words import CATEGORY, MODEL, RELAY


class RedilateModel:
    """See `model.redilate_model`."""

    CATEGORY = CATEGORY
    DESCRIPTION = MODEL.description
    FUNCTION = "execute"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        numbers = MODEL.numbers
        return {
            "required": {
                "model": ("MODEL",),
                "native_size": ("INT", numbers["native_size"]),
                "until": ("FLOAT", numbers["until"]),
            },
            "optional": {"plan": ("STRING", {"multiline": True, "default": "", "tooltip": MODEL.plan})},
        }

    def execute(self, model, native_size, until, plan=""):
        return (redilate_model(model, native_size, until, plan),)


class RedilateRelay:
    """See `relay.relay`."""

    CATEGORY = CATEGORY
    DESCRIPTION = RELAY.description
    FUNCTION = "execute"
    RETURN_TYPES = ("LATENT", "SIGMAS")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        types = {"width": "INT", "height": "INT", "start": "FLOAT"}
        numbers = {name: (kind, RELAY.numbers[name]) for name, kind in types.items()}
        return {"required": {"model": ("MODEL",), "latent": ("LATENT",), "sigmas": ("SIGMAS",)} | numbers}

    def execute(self, model, latent, sigmas, width, height, start):
        return relay(model, latent, sigmas, width, height, start)


NODE_CLASS_MAPPINGS = {"RedilateModel": RedilateModel, "RedilateRelay": RedilateRelay}
NODE_DISPLAY_NAME_MAPPINGS = {"RedilateModel": MODEL.title, "RedilateRelay": RELAY.title}
