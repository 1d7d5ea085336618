"""Pipelines that draw films: AnimateDiff's frames of Stable Diffusion, and Stable Video Diffusion."""

from __future__ import annotations

import math

import diffusers
import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    MotionAdapter,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.compatibility.samples import HEIGHT, PROMPT, WIDTH, Sample, quiet
from tests.models import LATENT_SIDE, tiny_sd15

_FRAMES = 2
_WIDTH = 8


def animation() -> Sample:
    parts = tiny_sd15().components
    torch.manual_seed(4)
    adapter = MotionAdapter(
        block_out_channels=(8, 16, 16, 16), motion_layers_per_block=2, motion_norm_num_groups=8,
        motion_num_attention_heads=2, motion_max_seq_length=8,
    )  # fmt: skip
    for parameter in adapter.parameters():  # a fresh one's last layers are zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    pipe = diffusers.AnimateDiffPipeline(
        **{name: parts[name] for name in names}, motion_adapter=adapter, feature_extractor=None
    )
    return Sample(quiet(pipe), {**PROMPT, "num_frames": _FRAMES})


def film_of_a_picture() -> Sample:
    torch.manual_seed(5)
    unet = UNetSpatioTemporalConditionModel(
        sample_size=LATENT_SIDE, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=_WIDTH,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        num_attention_heads=(2, 2), addition_time_embed_dim=_WIDTH,
        projection_class_embeddings_input_dim=3 * _WIDTH, num_frames=_FRAMES,
    )  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, force_upcast=False
    )
    seeing = CLIPVisionConfig(
        hidden_size=_WIDTH, projection_dim=_WIDTH, num_hidden_layers=1, num_attention_heads=1, image_size=224,
        intermediate_size=_WIDTH, patch_size=112,
    )  # fmt: skip
    pipe = StableVideoDiffusionPipeline(
        vae=vae, image_encoder=CLIPVisionModelWithProjection(seeing), unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
            timestep_type="continuous", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
        ),
        feature_extractor=CLIPImageProcessor(),
    )  # fmt: skip
    arguments = {"image": Image.new("RGB", (WIDTH, HEIGHT), "red"), "num_frames": _FRAMES}
    return Sample(quiet(pipe), arguments, level=_level_of_log_sigma)


def _level_of_log_sigma(timestep: float) -> float:
    """Of 0.25 · log σ, as this scheduler passes it, by Stable Diffusion's own schedule."""
    plain = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    sigmas = ((1 - plain.alphas_cumprod) / plain.alphas_cumprod).sqrt()
    return float((sigmas < math.exp(4 * timestep)).sum()) / len(sigmas)
