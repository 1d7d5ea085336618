"""The exact VAE nodes on ComfyUI's layout, against the same weights in diffusers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from integrations.comfyui import exact
from redilate import RedilateError
from redilate.decoding.decode import decode, encode
from tests.models import tiny_sd15

VAE = tiny_sd15().vae


class ResnetBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.norm1, self.conv1, self.norm2, self.conv2 = block.norm1, block.conv1, block.norm2, block.conv2
        if block.conv_shortcut is not None:
            self.nin_shortcut = block.conv_shortcut


class AttnBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.norm = block.group_norm
        linear = {"q": block.to_q, "k": block.to_k, "v": block.to_v, "proj_out": block.to_out[0]}
        for name, layer in linear.items():
            conv = nn.Conv2d(layer.in_features, layer.out_features, 1)
            conv.weight.data, conv.bias.data = layer.weight.data[..., None, None], layer.bias.data
            setattr(self, name, conv)


def half(theirs, blocks, sampler, reverse):
    mine = nn.Module()
    mine.conv_in, mine.norm_out, mine.conv_out = theirs.conv_in, theirs.conv_norm_out, theirs.conv_out
    mine.mid = nn.Module()
    mine.mid.block_1, mine.mid.block_2 = map(ResnetBlock, theirs.mid_block.resnets)
    mine.mid.attn_1 = AttnBlock(theirs.mid_block.attentions[0])
    levels = []
    for block in blocks:
        level = nn.Module()
        level.block, level.attn = nn.ModuleList(map(ResnetBlock, block.resnets)), nn.ModuleList()
        if samplers := getattr(block, f"{sampler}rs"):
            kept = nn.Module()
            kept.conv, kept.with_conv = samplers[0].conv, True
            setattr(level, sampler.removesuffix("e") + "e", kept)
        levels.append(level)
    return mine, nn.ModuleList(reversed(levels) if reverse else levels)


@pytest.fixture
def vae(monkeypatch):
    """ComfyUI's `VAE` around `AutoencoderKL`."""
    monkeypatch.setattr(exact, "loaded", lambda *_: None)
    monkeypatch.setattr(exact, "progress", lambda: lambda *_: None)
    model = nn.Module()
    model.decoder, model.decoder.up = half(VAE.decoder, VAE.decoder.up_blocks, "upsample", True)
    model.encoder, model.encoder.down = half(VAE.encoder, VAE.encoder.down_blocks, "downsample", False)
    model.quant_conv, model.post_quant_conv = VAE.quant_conv, VAE.post_quant_conv
    cpu = torch.device("cpu")
    return SimpleNamespace(
        first_stage_model=model,
        patcher=None,
        device=cpu,
        output_device=cpu,
        vae_dtype=torch.float32,
        process_input=lambda image: image * 2 - 1,
        process_output=lambda image: ((image + 1) / 2).clamp(0, 1),
    )


def test_it_decodes_what_diffusers_decodes(vae):
    latents = torch.randn(2, 4, 12, 20, generator=torch.Generator().manual_seed(0))
    wanted = (decode(VAE, latents, scaled=False) + 1) / 2
    pixels = exact.decode(vae, latents)
    assert pixels.shape == (2, *wanted.shape[2:], 3)
    assert torch.allclose(pixels.movedim(-1, 1), wanted, atol=1e-5)


def test_it_encodes_what_diffusers_encodes_and_cuts_odd_sides_in_the_middle(vae):
    pixels = torch.rand(1, 67, 96, 3, generator=torch.Generator().manual_seed(0))
    wanted = encode(VAE, pixels[:, 1:65].movedim(-1, 1) * 2 - 1, scaled=False)
    assert torch.allclose(exact.encode(vae, pixels), wanted, atol=1e-5)


def test_other_autoencoders_are_refused_with_what_works(vae):
    vae.first_stage_model = nn.Linear(1, 1)
    with pytest.raises(
        RedilateError, match=r"Linear cannot be run in strips: .*ComfyUI's own VAE nodes work"
    ):
        exact.check(vae)
