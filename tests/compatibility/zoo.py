"""One tiny pipeline of each kind that diffusers has, of stock classes and random weights.

Every maker returns a `Sample`: 2 steps (3 or 4 for those that skip some) of 384×256, from a native 256×256.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.compatibility import films, kandinsky, sdxl
from tests.compatibility import stable_diffusion as sd
from tests.compatibility.samples import Sample

SAMPLES: dict[str, tuple[str, Callable[[], Sample]]] = {
    "Stable Diffusion 1.5, text to image": ("StableDiffusionPipeline", sd.text_to_image),
    "Stable Diffusion 2.1, v-prediction": ("StableDiffusionPipeline", sd.text_to_image_v),
    "Stable Diffusion, image to image": ("StableDiffusionImg2ImgPipeline", sd.image_to_image),
    "Stable Diffusion, inpainting": ("StableDiffusionInpaintPipeline", sd.inpainting),
    "Stable Diffusion, inpainting U-Net": (
        "StableDiffusionInpaintPipeline",
        sd.inpainting_nine_channels,
    ),
    "Stable Diffusion, ControlNet": ("StableDiffusionControlNetPipeline", sd.control),
    "Stable Diffusion, several ControlNets": (
        "StableDiffusionControlNetPipeline",
        sd.several_controls,
    ),
    "Stable Diffusion, T2I-Adapter": ("StableDiffusionAdapterPipeline", sd.adapter),
    "Stable Diffusion, IP-Adapter": ("StableDiffusionPipeline", sd.image_prompt),
    "Stable Diffusion, InstructPix2Pix": (
        "StableDiffusionInstructPix2PixPipeline",
        sd.instructions,
    ),
    "Stable Diffusion, PAG": ("StableDiffusionPAGPipeline", sd.perturbed_attention),
    "Stable Diffusion, PAG without guidance (so no ND-CFG)": (
        "StableDiffusionPAGPipeline",
        sd.perturbed_attention_alone,
    ),
    "Latent consistency model (no guidance, so no ND-CFG)": (
        "LatentConsistencyModelPipeline",
        sd.consistency,
    ),
    "SDXL, text to image": ("StableDiffusionXLPipeline", sdxl.xl_text_to_image),
    "SDXL Turbo, Lightning (no guidance, so no ND-CFG)": ("StableDiffusionXLPipeline", sdxl.few_steps),
    "SDXL, image to image": ("StableDiffusionXLImg2ImgPipeline", sdxl.xl_image_to_image),
    "SDXL, inpainting": ("StableDiffusionXLInpaintPipeline", sdxl.xl_inpainting),
    "SDXL, base that hands over (denoising_end)": ("StableDiffusionXLPipeline", sdxl.base_before_a_refiner),
    "SDXL, refiner (denoising_start)": ("StableDiffusionXLImg2ImgPipeline", sdxl.refiner),
    "SDXL, ControlNet": ("StableDiffusionXLControlNetPipeline", sdxl.xl_control),
    "SDXL, T2I-Adapter": ("StableDiffusionXLAdapterPipeline", sdxl.xl_adapter),
    "SDXL, IP-Adapter": ("StableDiffusionXLPipeline", sdxl.xl_image_prompt),
    "SDXL, InstructPix2Pix": ("StableDiffusionXLInstructPix2PixPipeline", sdxl.xl_instructions),
    "SDXL, PAG": ("StableDiffusionXLPAGPipeline", sdxl.xl_perturbed_attention),
    "SSD-1B, Vega (pruned U-Nets)": ("StableDiffusionXLPipeline", sdxl.pruned),
    "Kolors": ("KolorsPipeline", sdxl.kolors),
    "Kandinsky 2.2, decoder": ("KandinskyV22Pipeline", kandinsky.kandinsky),
    "Kandinsky 2.2, inpainting": ("KandinskyV22InpaintPipeline", kandinsky.kandinsky_inpainting),
    "AnimateDiff (a film; its motion layers are left alone)": ("AnimateDiffPipeline", films.animation),
    "Stable Video Diffusion (its Conv3d are left alone)": (
        "StableVideoDiffusionPipeline",
        films.film_of_a_picture,
    ),
}
