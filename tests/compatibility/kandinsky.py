"""Kandinsky 2.2's decoder."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusers import UNet2DConditionModel, VQModel

from tests.compatibility.samples import Sample, mask, picture, quiet


def kandinsky() -> Sample:
    pipe, embeds = _kandinsky("KandinskyV22Pipeline", 4)
    return Sample(pipe, {"guidance_scale": 4.0, **embeds})


def kandinsky_inpainting() -> Sample:
    pipe, embeds = _kandinsky("KandinskyV22InpaintPipeline", 9)
    return Sample(pipe, {"guidance_scale": 4.0, **embeds, "image": 2 * picture() - 1, "mask_image": mask()})


def _kandinsky(kind: str, channels: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """Kandinsky 2.2's decoder: resnets as samplers, learned variance, an image embedding for text."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=channels,
        out_channels=8,
        addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        encoder_hid_dim=8,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=8,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
    )
    movq = VQModel(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        num_vq_embeddings=12,
        norm_num_groups=8,
        norm_type="group",
        vq_embed_dim=4,
    )
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        variance_type="learned_range",
    )
    pipe = quiet(getattr(diffusers, kind)(unet=unet, scheduler=scheduler, movq=movq))
    generator = torch.Generator().manual_seed(1)
    names = ("image_embeds", "negative_image_embeds")
    return pipe, {name: torch.randn(1, 8, generator=generator) for name in names}
