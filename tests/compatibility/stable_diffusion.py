"""Stable Diffusion 1.5's and 2.1's pipelines."""

from __future__ import annotations

import diffusers
import torch
from diffusers import T2IAdapter

from tests.compatibility.samples import (
    FROM_PICTURE,
    PROMPT,
    Sample,
    controlnet,
    load_ip_adapter,
    mask,
    picture,
    sd,
)
from tests.models import tiny_sd15


def text_to_image() -> Sample:
    return Sample(sd("StableDiffusionPipeline"), PROMPT)


def text_to_image_v() -> Sample:
    pipe = sd("StableDiffusionPipeline", {"use_linear_projection": True, "attention_head_dim": (2, 4, 4, 4)})
    pipe.scheduler = type(pipe.scheduler).from_config(
        pipe.scheduler.config, prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    return Sample(pipe, {**PROMPT, "guidance_rescale": 0.0})


def image_to_image() -> Sample:
    return Sample(sd("StableDiffusionImg2ImgPipeline"), {**FROM_PICTURE, "image": picture()}, sized=False)


def inpainting() -> Sample:
    arguments = {**FROM_PICTURE, "image": picture(), "mask_image": mask()}
    return Sample(sd("StableDiffusionInpaintPipeline"), arguments)


def inpainting_nine_channels() -> Sample:
    arguments = {**FROM_PICTURE, "image": picture(), "mask_image": mask()}
    return Sample(sd("StableDiffusionInpaintPipeline", {"in_channels": 9}), arguments)


def control() -> Sample:
    pipe = tiny_sd15()
    pipe = sd("StableDiffusionControlNetPipeline", controlnet=controlnet(pipe.unet, 7))
    return Sample(pipe, {**PROMPT, "image": picture()})


def several_controls() -> Sample:
    nets = [controlnet(tiny_sd15().unet, seed) for seed in (7, 8)]
    pipe = sd("StableDiffusionControlNetPipeline", controlnet=nets)
    return Sample(pipe, {**PROMPT, "image": [picture(), picture(6)]})


def adapter() -> Sample:
    torch.manual_seed(9)
    part = T2IAdapter(channels=[8, 16, 16, 16], num_res_blocks=1, downscale_factor=8)
    return Sample(sd("StableDiffusionAdapterPipeline", adapter=part), {**PROMPT, "image": picture()})


def image_prompt() -> Sample:
    pipe = sd("StableDiffusionPipeline")
    load_ip_adapter(pipe.unet)
    embeds = torch.randn(
        2, 1, pipe.unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1)
    )
    return Sample(pipe, {**PROMPT, "ip_adapter_image_embeds": [embeds]})


def instructions() -> Sample:
    pipe = sd("StableDiffusionInstructPix2PixPipeline", {"in_channels": 8})
    arguments = {**PROMPT, "image": picture(), "image_guidance_scale": 1.5}
    return Sample(pipe, arguments, chunks=3, unconditional=2, sized=False)


def perturbed_attention() -> Sample:
    pipe = sd("StableDiffusionPAGPipeline", pag_applied_layers=["mid"])
    return Sample(pipe, {**PROMPT, "pag_scale": 2.0}, chunks=3, whole=True)


def perturbed_attention_alone() -> Sample:
    pipe = sd("StableDiffusionPAGPipeline", pag_applied_layers=["mid"])
    return Sample(pipe, {**PROMPT, "guidance_scale": 1.0, "pag_scale": 2.0}, chunks=2, unconditional=None)


def consistency() -> Sample:
    scheduler = diffusers.LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipe = sd("LatentConsistencyModelPipeline", {"time_cond_proj_dim": 8}, scheduler=scheduler)
    return Sample(pipe, {**PROMPT, "guidance_scale": 8.0}, chunks=1, unconditional=None)
