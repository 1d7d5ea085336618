"""SDXL's pipelines, and those of its kin: the refiner, pruned U-Nets, Kolors."""

from __future__ import annotations

import pytest
import torch
from diffusers import T2IAdapter

from tests.compatibility.samples import (
    FROM_PICTURE,
    HEIGHT,
    PROMPT,
    WIDTH,
    Sample,
    controlnet,
    load_ip_adapter,
    mask,
    picture,
    xl,
)
from tests.models import tiny_sdxl


def xl_text_to_image() -> Sample:
    return Sample(xl("StableDiffusionXLPipeline"), PROMPT)


def few_steps() -> Sample:
    """As SDXL Turbo and Lightning are run: no guidance, timesteps from the very end."""
    pipe = xl("StableDiffusionXLPipeline")
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, timestep_spacing="trailing")
    return Sample(pipe, {**PROMPT, "guidance_scale": 0.0}, chunks=1, unconditional=None)


def xl_image_to_image() -> Sample:
    pipe = xl("StableDiffusionXLImg2ImgPipeline")
    return Sample(pipe, {**FROM_PICTURE, "image": picture()}, sized=False)


def xl_inpainting() -> Sample:
    arguments = {**FROM_PICTURE, "image": picture(), "mask_image": mask()}
    return Sample(xl("StableDiffusionXLInpaintPipeline"), arguments)


def refiner() -> Sample:
    """SDXL's refiner: four levels, the second text encoder alone, an aesthetic score; it starts in mid-way."""
    layout = {
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (1, 2, 2, 2),
        "transformer_layers_per_block": 1,
        "cross_attention_dim": 8,
        "projection_class_embeddings_input_dim": 5 * 8 + 8,
    }
    pipe = xl(
        "StableDiffusionXLImg2ImgPipeline",
        layout,
        text_encoder=None,
        tokenizer=None,
        requires_aesthetics_score=True,
    )
    latents = torch.randn(1, 4, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(4))
    return Sample(
        pipe,
        {**PROMPT, "image": latents, "denoising_start": 0.4, "num_inference_steps": 4},
        sized=False,
    )


def base_before_a_refiner() -> Sample:
    return Sample(xl("StableDiffusionXLPipeline"), {**PROMPT, "denoising_end": 0.5, "num_inference_steps": 4})


def xl_control() -> Sample:
    pipe = xl("StableDiffusionXLControlNetPipeline", controlnet=controlnet(tiny_sdxl().unet, 7))
    return Sample(pipe, {**PROMPT, "image": picture()})


def xl_adapter() -> Sample:
    torch.manual_seed(9)
    part = T2IAdapter(
        channels=[8, 16, 16, 16], num_res_blocks=1, downscale_factor=16, adapter_type="full_adapter_xl"
    )
    return Sample(xl("StableDiffusionXLAdapterPipeline", adapter=part), {**PROMPT, "image": picture()})


def xl_image_prompt() -> Sample:
    pipe = xl("StableDiffusionXLPipeline")
    load_ip_adapter(pipe.unet)
    embeds = torch.randn(
        2, 1, pipe.unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1)
    )
    return Sample(pipe, {**PROMPT, "ip_adapter_image_embeds": [embeds]})


def xl_instructions() -> Sample:
    pipe = xl("StableDiffusionXLInstructPix2PixPipeline", {"in_channels": 8})
    arguments = {**PROMPT, "image": picture(), "image_guidance_scale": 1.5}
    return Sample(pipe, arguments, chunks=3, unconditional=2)


def xl_perturbed_attention() -> Sample:
    pipe = xl("StableDiffusionXLPAGPipeline", pag_applied_layers=["mid"])
    return Sample(pipe, {**PROMPT, "pag_scale": 2.0}, chunks=3, whole=True)


def pruned() -> Sample:
    """As SSD-1B and Vega: SDXL with fewer resnets and attention layers, and nothing in its middle."""
    layout = {"mid_block_type": None, "layers_per_block": 1, "transformer_layers_per_block": (1, 1, 1)}
    return Sample(xl("StableDiffusionXLPipeline", layout), PROMPT)


def kolors() -> Sample:
    """Kolors: SDXL's U-Net behind a projection of a language model's states, which are given here."""
    pytest.importorskip("sentencepiece")  # without it diffusers hides the pipeline
    layout = {
        "encoder_hid_dim": 12,
        "encoder_hid_dim_type": "text_proj",
        "projection_class_embeddings_input_dim": 6 * 8 + 12,
    }
    pipe = xl("KolorsPipeline", layout, text_encoder=None, tokenizer=None)
    generator = torch.Generator().manual_seed(1)
    states = {name: torch.randn(1, 6, 12, generator=generator) for name in ("", "negative_")}
    pooled = {name: torch.randn(1, 12, generator=generator) for name in ("", "negative_")}
    arguments = {f"{name}prompt_embeds": value for name, value in states.items()}
    arguments |= {f"{name}pooled_prompt_embeds": value for name, value in pooled.items()}
    return Sample(pipe, {"guidance_scale": 4.0, **arguments})
