"""What the nodes say of themselves and of their inputs."""

from __future__ import annotations

from typing import Any

from redilate.plans.defaults import DEFAULTS

CATEGORY = "model/patch/unet"  # beside Kohya Deep Shrink
VAE_CATEGORY = "model/latent"  # beside VAE Decode and VAE Encode
ALIASES = [
    "ScaleCrafter",
    "hires fix",
    "high resolution",
    "repetition",
    "double heads",
    "upscale",
    "dilation",
    "FreeScale",
]
DECODE_ALIASES = ["VAE decode", "tiled", "seams", "out of memory"]
ENCODE_ALIASES = ["VAE encode", "tiled", "seams", "out of memory"]

UPSCALE = (
    "Redilate Upscale",
    "Draws large pictures: natively first, then enlarged and drawn on at each larger size with re-dilated "
    "convolutions, so that nothing is repeated. With an image it enlarges that. For U-Nets: SD 1.5, 2.1, SDXL.",
)
MODEL = (
    "Redilate Model",
    "For your own workflow: put it between the loader and KSampler, and sample larger than the model was trained "
    "for. Its convolutions see as much of the picture as in training. For U-Nets: SD 1.5, 2.1, SDXL.",
)
DECODE = (
    "Redilate VAE Decode (exact)",
    "Decodes latents of any size in strips: what VAE Decode gives, in a sixth of the memory and without tiles.",
)
ENCODE = (
    "Redilate VAE Encode (exact)",
    "Encodes a picture of any size in strips: what VAE Encode gives, in little memory and without tiles.",
)

_SIDE = {"min": 0, "max": 16384, "step": 8, "default": 0}
NATIVE_SIZE: dict[str, Any] = {
    "default": 0,
    "min": 0,
    "max": 4096,
    "step": 8,
    "advanced": True,
    "tooltip": "The side in pixels that the checkpoint was trained at; 0: told from the model. Illustrious 1.0 is "
    "1536, Turbo 512.",
}
PLAN: dict[str, Any] = {
    "multiline": True,
    "default": "",
    "advanced": True,
    "tooltip": "A plan as JSON (redilate plan --output) in place of the one that follows from the size.",
}
WIDTH = _SIDE | {"tooltip": "In pixels, a multiple of 8; 0: from the height, or from the scale."}
HEIGHT = _SIDE | {"tooltip": "In pixels, a multiple of 8; 0: from the width, or from the scale."}
SCALE: dict[str, Any] = {
    "default": 2.0,
    "min": 1.0,
    "max": 16.0,
    "step": 0.1,
    "tooltip": "Where width and height are 0: times the size of the picture, or of what the model was trained at.",
}
STRENGTH: dict[str, Any] = {
    "default": DEFAULTS["sdxl"].strength,
    "min": 0.01,
    "max": 1.0,
    "step": 0.01,
    "tooltip": "The noise level that the first large leg starts at. Low keeps the picture before, high invents; 1 "
    "draws everything at full size.",
}
STEPS: dict[str, Any] = {
    "default": 25,
    "min": 1,
    "max": 10000,
    "tooltip": "Of a whole denoising; a large leg takes the share that its strength leaves it.",
}
CFG: dict[str, Any] = {
    "default": 7.0,
    "min": 0.0,
    "max": 100.0,
    "step": 0.1,
    "tooltip": "Classifier-free guidance of every leg; 1: none.",
}
SEED: dict[str, Any] = {
    "default": 0,
    "min": 0,
    "max": 2**64 - 1,
    "control_after_generate": True,
    "tooltip": "Of the noise of the first leg; the others' follow from it.",
}
TIPS = {
    "model": "A Stable Diffusion 1.5, 2.1 or SDXL model; LoRAs and other patches before it keep working.",
    "vae": "Legs meet in pixels, so it is needed between them.",
    "positive": "What the picture shows.",
    "negative": "What it does not show.",
    "sampler_name": "Of every leg.",
    "scheduler": "Of the native leg; a large leg's steps are spread evenly in noise level.",
    "image": "A picture to enlarge, in place of a first leg.",
    "latent": "A picture to enlarge, as latents; an empty latent says how many pictures are drawn.",
    "upscale_model": "Enlarges the pixels between legs, in place of Lanczos' filter.",
    "autoencoder": "That of SD 1.5, 2.1, SDXL or Flux; others are refused.",
    "samples": "Latents of any size.",
    "pixels": "A picture of any size.",
}
