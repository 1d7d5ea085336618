"""Checkpoints in the layout that single files have: Stable Diffusion's original module names, in one state dict.

Written from the names alone, and the other way round than diffusers' own conversion, which the tests put to use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from packaging.version import Version
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tests.compatibility.samples import xl
from tests.models import tiny_sdxl

Weights = dict[str, Tensor]

reads_single_files = pytest.mark.skipif(
    Version(diffusers.__version__) < Version("0.42"),
    reason="diffusers below 0.42 cannot read single files with the text encoders of transformers 5.6 and later",
)

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = (
    (r"encoder\.down_blocks\.(\d+)\.resnets", r"encoder.down.\1.block"),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)
_OPEN_CLIP = (
    (r"embeddings\.token_embedding\.", "token_embedding."),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"final_layer_norm", "ln_final"),
    (r"encoder\.layers\.", "transformer.resblocks."),
    (r"layer_norm([12])", r"ln_\1"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)


def sdxl_of_two_widths() -> Any:
    """SDXL, whose text encoders a single file tells apart by their widths alone."""
    config = tiny_sdxl().text_encoder_2.config.to_dict()
    torch.manual_seed(4)
    second = CLIPTextModelWithProjection(
        CLIPTextConfig(**config | {"hidden_size": 16, "intermediate_size": 32})
    )
    return xl("StableDiffusionXLPipeline", unet={"cross_attention_dim": 24}, text_encoder_2=second)


def write_with_configuration(
    pipe: Any, folder: Path, name: str = "model.safetensors", **more: Tensor
) -> tuple[Path, Path]:
    """A single file, and a folder with what it lacks: configurations and tokenizers, no weights."""
    pipe.save_pretrained(folder / "configuration")
    for weights in (folder / "configuration").rglob("*.safetensors"):
        weights.unlink()
    return write_single_file(pipe, folder / name, **more), folder / "configuration"


def write_single_file(pipe: Any, path: Path, **more: Tensor) -> Path:
    """Write a Stable Diffusion or SDXL pipeline's networks, and `more` keys, as one file; returns its path."""
    parts = {"model.diffusion_model.": unet_weights(pipe.unet), "first_stage_model.": vae_weights(pipe.vae)}
    first = {f"text_model.{name}": value for name, value in _text(pipe.text_encoder).items()}
    if hasattr(pipe, "text_encoder_2"):
        parts["conditioner.embedders.0.transformer."] = first
        parts["conditioner.embedders.1.model."] = open_clip_weights(pipe.text_encoder_2)
    else:
        parts["cond_stage_model.transformer."] = first
    weights = {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}
    save_file({name: value.contiguous() for name, value in (weights | more).items()}, path)
    return path


def unet_weights(unet: Any) -> Weights:
    """input_blocks, middle_block, output_blocks: the U-Net's parameters by their original names."""
    return {original_name(name, unet): value for name, value in unet.state_dict().items()}


def original_name(name: str, unet: Any) -> str:
    """`down_blocks.0.resnets.1.conv1.weight` → `input_blocks.2.0.in_layers.2.weight`."""
    layers = unet.config.layers_per_block
    name = re.sub(r"(?<=resnets\.\d\.)\w+", lambda found: _RESNET[found[0]], name)
    found = re.match(r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.+)", name)
    if found is None:
        module, _, kind = name.rpartition(".")
        return f"{_OUTSIDE_BLOCKS[module]}.{kind}"
    side, block, group, index, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    if side == "mid":
        return f"middle_block.{2 * index if group == 'resnets' else 1}.{rest}"
    if group == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
    if group == "upsamplers":
        place = 1 + len(getattr(unet.up_blocks[block], "attentions", [])[:1])
        return f"output_blocks.{block * (layers + 1) + layers}.{place}.{rest}"
    first = "input_blocks" if side == "down" else "output_blocks"
    number = block * (layers + 1) + index + (side == "down")
    return f"{first}.{number}.{int(group == 'attentions')}.{rest}"


def vae_weights(vae: Any) -> Weights:
    """The autoencoder's parameters by their original names; its attention is made of 1×1 convolutions there."""
    last = len(vae.config.block_out_channels) - 1
    weights = {}
    for name, value in vae.state_dict().items():
        name = re.sub(
            r"decoder\.up_blocks\.(\d+)\.resnets", lambda m: f"decoder.up.{last - int(m[1])}.block", name
        )
        name = re.sub(
            r"decoder\.up_blocks\.(\d+)\.upsamplers\.0",
            lambda m: f"decoder.up.{last - int(m[1])}.upsample",
            name,
        )
        for pattern, original in _VAE:
            name = re.sub(pattern, original, name)
        is_attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)
        weights[name] = value[..., None, None] if is_attention else value
    return weights


def open_clip_weights(encoder: Any) -> Weights:
    """A text encoder's parameters by OpenCLIP's names, where query, key and value are one matrix."""
    weights, parts = {}, {}
    for name, value in _text(encoder).items():
        if found := re.match(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            parts.setdefault(f"transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}", {})[found[2]] = (
                value
            )
        elif name == "text_projection.weight":
            weights["text_projection"] = value.T
        else:
            for pattern, original in _OPEN_CLIP:
                name = re.sub(pattern, original, name)
            weights[name] = value
    return weights | {name: torch.cat([part[key] for key in "qkv"]) for name, part in parts.items()}


def _text(encoder: Any) -> Weights:
    """transformers has put `text_model.` in front of some of these names, and taken it away again."""
    state = encoder.state_dict().items()
    return {name.removeprefix("text_model."): value for name, value in state if "position_ids" not in name}
