"""ComfyUI's autoencoder run exactly and in strips: no tiles, no seams, whatever the size.

Its layers are laid out as in the original code; they are shown to `redilate.decoding` under diffusers' names.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from redilate.core.devices import device_bytes
from redilate.decoding.decode import OnProgress, in_strips, strip_bytes
from redilate.decoding.passes import Limits, largest_output_bytes
from redilate.decoding.steps import Attention, Convolution, Resnet, Step
from redilate.errors import RedilateError

from .host import loaded, progress

_ELSE = "ComfyUI's own VAE nodes work"


@torch.inference_mode()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Latents (B, C, h, w), as a LATENT has them → pixels (B, H, W, 3) in [0, 1], as an IMAGE has them.

    Raises:
        RedilateError: for an autoencoder that is not Stable Diffusion's: films', tiny ones.
    """
    decoder = _half(vae, "decoder")
    steps = decoder_steps(vae.first_stage_model)
    out = _run(vae, steps, (decoder.norm_out, decoder.conv_out), latents)
    return vae.process_output(out.float()).movedim(1, -1).to(vae.output_device)


@torch.inference_mode()
def encode(vae: Any, pixels: Tensor) -> Tensor:
    """Pixels (B, H, W, 3) in [0, 1] → the mean of the latents, (B, C, H / 8, W / 8); raises as `decode`.

    Sides that are no multiples of 8 are cut to the nearest below, in the middle, as ComfyUI's own node does.
    """
    encoder = _half(vae, "encoder")
    steps = encoder_steps(vae.first_stage_model)
    height, width = (side // 8 * 8 for side in pixels.shape[1:3])
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    cut = pixels[:, top : top + height, left : left + width, :3].movedim(-1, 1)
    out = _run(vae, steps, (encoder.norm_out, encoder.conv_out), vae.process_input(cut))
    last = getattr(vae.first_stage_model, "quant_conv", None)
    if last is not None:
        weight, bias = last.weight.to(out), None if last.bias is None else last.bias.to(out)
        out = nn.functional.conv2d(out, weight, bias)
    return out.chunk(2, 1)[0].float().to(vae.output_device)


def check(vae: Any) -> None:
    """RedilateError for an autoencoder that cannot be run in strips."""
    for name, steps in (("decoder", decoder_steps), ("encoder", encoder_steps)):
        _half(vae, name)
        steps(vae.first_stage_model)


def decoder_steps(model: Any) -> list[Step]:
    """From latents to what the last normalisation takes; RedilateError names what cannot be run in strips."""
    decoder = model.decoder
    first = getattr(model, "post_quant_conv", None)
    steps: list[Step] = [] if first is None else [Convolution(first)]
    steps += [Convolution(decoder.conv_in), *_mid(decoder.mid)]
    above: nn.Conv2d | None = None
    for number, block in reversed(list(enumerate(decoder.up))):
        for resnet in _resnets(block):
            steps.append(Resnet(resnet, above))
            above = None
        if number:
            sampler = block.upsample
            if not sampler.with_conv or getattr(sampler, "scale_factor", 2.0) != 2.0:
                raise _cannot(sampler)
            above = sampler.conv
    return steps


def encoder_steps(model: Any) -> list[Step]:
    """From a picture to what the last normalisation takes; raises as `decoder_steps`."""
    encoder = model.encoder
    steps: list[Step] = [Convolution(encoder.conv_in)]
    for number, block in enumerate(encoder.down):
        steps += [Resnet(resnet) for resnet in _resnets(block)]
        if number + 1 < len(encoder.down):
            if not block.downsample.with_conv:
                raise _cannot(block.downsample)
            steps.append(Convolution(block.downsample.conv, 0.5))
    return [*steps, *_mid(encoder.mid)]


def _run(vae: Any, steps: list[Step], last: tuple[Any, Any], batch: Tensor) -> Tensor:
    start = torch.empty((1, *batch.shape[1:]), dtype=vae.vae_dtype, device="meta")
    device = torch.device(vae.device)
    needed = largest_output_bytes(steps, start) + 16 * strip_bytes(device)
    loaded(vae.patcher, needed)
    short = device.type == "cuda" and needed > device_bytes(device)[0]
    limits = Limits(strip_bytes(device), torch.device("cpu") if short else None)
    report: OnProgress = progress()
    return in_strips(steps, last, batch.to(device, vae.vae_dtype), limits, report)


def _half(vae: Any, name: str) -> Any:
    half = getattr(vae.first_stage_model, name, None)
    parts = ("conv_in", "mid", "up" if name == "decoder" else "down", "norm_out", "conv_out")
    if not all(hasattr(half, part) for part in parts) or not isinstance(half.conv_out, nn.Conv2d):
        kind = type(vae.first_stage_model).__name__
        raise RedilateError(f"{kind} cannot be run in strips: it is not Stable Diffusion's kind; {_ELSE}")
    return half


def _mid(block: Any) -> list[Step]:
    attention = [] if isinstance(block.attn_1, nn.Identity) else [Attention(_attention(block.attn_1))]
    return [Resnet(_resnet(block.block_1)), *attention, Resnet(_resnet(block.block_2))]


def _resnets(block: Any) -> list[Any]:
    if len(block.attn):
        raise _cannot(block.attn[0])
    return [_resnet(each) for each in block.block]


def _resnet(block: Any) -> Any:
    if type(block).__name__ != "ResnetBlock" or not isinstance(block.conv1, nn.Conv2d):
        raise _cannot(block)
    if hasattr(block, "conv_shortcut") or hasattr(block, "temb_proj"):
        raise _cannot(block)
    return SimpleNamespace(
        norm1=block.norm1,
        conv1=block.conv1,
        norm2=block.norm2,
        conv2=block.conv2,
        nonlinearity=nn.SiLU(),
        conv_shortcut=getattr(block, "nin_shortcut", None),
        output_scale_factor=1.0,
    )


def _attention(block: Any) -> Any:
    if type(block).__name__ != "AttnBlock" or not isinstance(block.q, nn.Conv2d):
        raise _cannot(block)
    q, k, v, out = (_Linear(conv) for conv in (block.q, block.k, block.v, block.proj_out))
    return SimpleNamespace(
        group_norm=block.norm,
        heads=1,
        scale=None,
        to_q=q,
        to_k=k,
        to_v=v,
        to_out=[out],
        residual_connection=True,
        rescale_output_factor=1.0,
    )


class _Linear:
    """A 1×1 convolution as the linear layer that it is; its weights are read when they are wanted."""

    def __init__(self, conv: nn.Conv2d):
        self._conv = conv

    @property
    def weight(self) -> Tensor:
        return self._conv.weight.flatten(1)

    @property
    def bias(self) -> Tensor | None:
        return self._conv.bias


def _cannot(module: Any) -> RedilateError:
    return RedilateError(f"the autoencoder's {type(module).__name__} cannot be run in strips; {_ELSE}")
