"""An autoencoder's halves as lists of steps, with their sizes and memory; its device, type and latent scaling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RedilateError


def autoencoder_of(pipe_or_vae: Any) -> Any:
    """The autoencoder of a pipeline, or the autoencoder itself; RedilateError for a pipeline without a `vae`."""
    if isinstance(pipe_or_vae, nn.Module):
        return pipe_or_vae
    vae = getattr(pipe_or_vae, "vae", None)
    if not isinstance(vae, nn.Module):
        raise RedilateError(
            f"{type(pipe_or_vae).__name__} has no vae; a pipeline that has one, or an AutoencoderKL, works"
        )
    return vae


def computing_device(vae: Any, like: Tensor | None = None) -> torch.device:
    """Where `vae` computes: under offload not where its weights are; if it is on the CPU, the device of `like`.

    So if either the tensor or the autoencoder is on a GPU, the computation is.
    """
    if (device := _offloaded_from(vae)) is not None:
        return device
    return vae.device if like is None or vae.device.type not in ("cpu", "meta") else like.device


def has_weights(vae: Any) -> bool:
    """Whether `vae` can compute: not if it is on the device "meta" without offload."""
    return vae.device.type != "meta" or _offloaded_from(vae) is not None


def _offloaded_from(vae: Any) -> torch.device | None:
    """Where an offloaded autoencoder computes; None for any other."""
    for module in vae.modules():
        device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return _device(device)
        if (device := _onload_device(module)) is not None:
            return device
    return None


def _device(named: Any) -> torch.device:
    # accelerate names a GPU by its number, too
    return torch.device("cuda", named) if isinstance(named, int) else torch.device(named)


def _onload_device(module: nn.Module) -> torch.device | None:
    """The device of a module under diffusers' group offload; None without it."""
    registry: Any = module.__dict__.get("_diffusers_hook")
    hook = None if registry is None else registry.get_hook("group_offloading")
    group = getattr(hook, "group", None)
    return None if group is None else _device(group.onload_device)


def unscale(vae: Any, latents: Tensor) -> Tensor:
    """A U-Net's latents → those that `vae.decode` takes, as in diffusers' pipelines."""
    config = vae.config
    mean, std = _statistics(config, latents)
    if mean is not None and std is not None:
        return latents * std / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)


def rescale(vae: Any, latents: Tensor) -> Tensor:
    """The inverse of `unscale`."""
    config = vae.config
    mean, std = _statistics(config, latents)
    if mean is not None and std is not None:
        return (latents - mean) * config.scaling_factor / std
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor


def working_type(vae: Any) -> torch.dtype:
    """The type to decode in: float32 for a float16 autoencoder that overflows, as SDXL's does; else its own."""
    if vae.dtype is torch.float16 and getattr(vae.config, "force_upcast", False):
        return torch.float32
    return vae.dtype


@contextmanager
def at_working_type(vae: Any) -> Iterator[torch.dtype]:
    """A context in which the autoencoder's weights have its `working_type`, which it yields."""
    own, working = vae.dtype, working_type(vae)
    try:
        if working != own:
            vae.to(working)
        yield working
    finally:
        if working != own:
            vae.to(own)


def _statistics(config: Any, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return None, None
    return torch.tensor(mean).view(1, -1, 1, 1).to(like), torch.tensor(std).view(1, -1, 1, 1).to(like)


SUPPORTED = "AutoencoderKL, as Stable Diffusion 1.5, 2.1 and SDXL have it"


@dataclass(frozen=True)
class Resnet:
    """A residual block; with `up`, after an upsampler (nearest by 2, then this convolution)."""

    block: Any
    up: nn.Conv2d | None = None


@dataclass(frozen=True)
class Attention:
    """The mid block's attention, with one key and value for pool × pool pixels."""

    block: Any
    pool: int = 1


@dataclass(frozen=True)
class Convolution:
    """A convolution outside residual blocks: the first one, or an upsampler's or downsampler's."""

    conv: nn.Conv2d
    scale: float = 1.0  # of height and width: 2 or 0.5


Step = Resnet | Attention | Convolution


def decoder_steps(vae: Any) -> list[Step]:
    """The decoder's steps before its last normalisation; RedilateError if a layer cannot be run in strips."""
    decoder = _half(vae, "decoder")
    steps: list[Step] = [Convolution(conv) for conv in (vae.post_quant_conv,) if conv is not None]
    steps += [Convolution(decoder.conv_in), *_mid(decoder.mid_block)]
    up: nn.Conv2d | None = None
    for block in decoder.up_blocks:
        _check(block, "UpDecoderBlock2D")
        for resnet in block.resnets:
            steps.append(Resnet(_checked(resnet), up))
            up = None
        for upsampler in block.upsamplers or ():
            if upsampler.norm is not None or not upsampler.interpolate or not upsampler.use_conv:
                raise _cannot(upsampler, "its upsampling is not nearest-neighbour and a convolution")
            up = upsampler.conv
    return steps if up is None else [*steps, Convolution(up, 2.0)]


def encoder_steps(vae: Any, pool: int = 1) -> list[Step]:
    """The encoder's steps before its last normalisation; `pool` as for `Attention`; raises as `decoder_steps`."""
    encoder = _half(vae, "encoder")
    steps: list[Step] = [Convolution(encoder.conv_in)]
    for block in encoder.down_blocks:
        _check(block, "DownEncoderBlock2D")
        steps += [Resnet(_checked(resnet)) for resnet in block.resnets]
        for downsampler in block.downsamplers or ():
            if downsampler.norm is not None or not downsampler.use_conv or downsampler.padding != 0:
                raise _cannot(downsampler, "its downsampling does not pad below and to the right alone")
            steps.append(Convolution(downsampler.conv, 0.5))
    return [*steps, *_mid(encoder.mid_block, pool)]


def _half(vae: Any, name: str) -> Any:
    half = getattr(vae, name, None)
    if type(vae).__name__ == "AutoencoderKLTemporalDecoder":
        raise RedilateError(
            "AutoencoderKLTemporalDecoder cannot be run in strips: it mixes frames; its own vae.decode(latents, "
            "num_frames=…) works, with latents divided by scaling_factor"
        )
    if type(vae).__name__ != "AutoencoderKL" or half is None:
        raise RedilateError(f"{type(vae).__name__} cannot be run in strips; supported is {SUPPORTED}")
    if not isinstance(half.conv_norm_out, nn.GroupNorm):
        raise _cannot(half.conv_norm_out, "it is no GroupNorm")
    return half


def _mid(block: Any, pool: int = 1) -> Iterator[Step]:
    _check(block, "UNetMidBlock2D")
    yield Resnet(_checked(block.resnets[0]))
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            if attention.group_norm is None or attention.spatial_norm is not None:
                raise _cannot(attention, "its normalisation is no GroupNorm")
            yield Attention(attention, pool)
        yield Resnet(_checked(resnet))


def _checked(resnet: Any) -> Any:
    _check(resnet, "ResnetBlock2D")
    if resnet.time_emb_proj is not None or resnet.upsample is not None or resnet.downsample is not None:
        raise _cannot(resnet, "it depends on a timestep or changes the size")
    for conv in (resnet.conv1, resnet.conv2, resnet.conv_shortcut):
        if conv is not None and not isinstance(conv, nn.Conv2d):
            raise _cannot(conv, "it is no Conv2d; fuse or remove the adapter")
        if conv is not None and conv.padding_mode != "zeros":
            raise _cannot(conv, f"its padding is {conv.padding_mode!r}, not zeros")
    return resnet


def _check(block: Any, name: str) -> None:
    if type(block).__name__ != name:
        raise _cannot(block, f"only {name} stands there in {SUPPORTED}")


def _cannot(module: Any, why: str) -> RedilateError:
    return RedilateError(f"the autoencoder's {type(module).__name__} cannot be run in strips: {why}")


def scale_of(step: Step) -> float:
    """A step's scale of height and width."""
    if isinstance(step, Resnet):
        return 1.0 if step.up is None else 2.0
    return step.scale if isinstance(step, Convolution) else 1.0


def size_after(steps: list[Step], size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) after `steps`."""
    for step in steps:
        size = int(size[0] * scale_of(step)), int(size[1] * scale_of(step))
    return size


def whole_bytes(steps: list[Step], start: Tensor) -> int:
    """About how many bytes half an autoencoder needs at its peak without strips, without its weights.

    Twice its largest convolution's input and output: copies, normalisation and activation need about as much again
    (docs/performance.md).
    """
    largest, size = 0, (start.shape[2], start.shape[3])
    for step in steps:
        cells, size = size[0] * size[1], size_after([step], size)
        after = size[0] * size[1]
        if isinstance(step, Attention):
            continue
        if isinstance(step, Convolution):
            # An upsampler's input is the enlarged one.
            taken = max(cells, after) * step.conv.in_channels
            largest = max(largest, taken + after * step.conv.out_channels)
            continue
        convolutions = (step.up, step.block.conv1, step.block.conv2)
        channels = (conv.in_channels + conv.out_channels for conv in convolutions if conv is not None)
        largest = max(largest, after * max(channels))
    return 2 * largest * start.element_size()
