"""An exact decode and encode of pictures of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import RedilateError
from .layers import pointwise
from .passes import Limits, Tick, least_room, run, size_after
from .steps import Step, decoder_steps, encoder_steps

OnProgress = Callable[[int, int], None]

_MIB = 2**20
# A strip that stays in a processor's cache on its way through several layers; a GPU wants more work at a time.
_STRIP_ON_CPU, _STRIP_ELSEWHERE = 16 * _MIB, 64 * _MIB


@torch.inference_mode()
def decode(
    vae: Any,
    latents: Tensor,
    *,
    scaled: bool = False,
    dtype: torch.dtype | None = None,
    room: int | None = None,
    storage: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
) -> Tensor:
    """Decode latents exactly, in strips: what `vae.decode` gives, within rounding, in a fraction of its memory.

    Nothing is approximated, so there are no seams and no change of tone: GroupNorm takes its statistics from the
    whole picture, each strip has its true neighbours, and the mid block attends to all pixels. The autoencoder is not
    changed, and its own tiling and slicing settings are ignored.

    Args:
        vae: a diffusers `AutoencoderKL`; or an `AutoencoderTiny`, which gives a preview in its own plain way.
        latents: (B, C, h, w), on the device to compute on, as a pipeline hands them to `vae.decode`: divided by
            `scaling_factor` and with `shift_factor` added, or out of `latents_mean` and `latents_std`.
        scaled: True for latents as a pipeline returns them with `output_type="latent"`; that is then done here.
        dtype: to compute in; None: the autoencoder's, but float32 for a float16 one that overflows (`force_upcast`).
        room: bytes of activations to keep rather than compute again; None: the least. The largest activation on the
            way (for SDXL's 2048², 8.6 GB in float32) saves all recomputation.
        storage: where activations wait for the next pass, such as "cpu" for a picture too large for the GPU.
        on_progress: called with (multiply-accumulates done, in all) as the work goes on.

    Returns:
        (B, 3, H, W) in [−1, 1], of type `dtype`.

    Raises:
        RedilateError: for an autoencoder that cannot be run in strips, or latents that are not its.
    """
    if type(vae).__name__ == "AutoencoderTiny":
        _check_channels(latents, vae.config.latent_channels, "latents")
        return vae.decode((unscale(vae, latents) if scaled else latents).to(vae.dtype)).sample.clamp_(-1, 1)
    steps = decoder_steps(vae)
    _check_channels(latents, vae.config.latent_channels, "latents")
    latents = unscale(vae, latents) if scaled else latents
    last = (vae.decoder.conv_norm_out, vae.decoder.conv_out)
    limits = _limits(latents, room, storage)
    return _run(vae, steps, last, latents, dtype, limits, on_progress).clamp_(-1, 1)


@torch.inference_mode()
def encode(
    vae: Any,
    image: Tensor,
    *,
    scaled: bool = False,
    dtype: torch.dtype | None = None,
    room: int | None = None,
    storage: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
) -> Tensor:
    """Encode a picture exactly, in strips: the mode of `vae.encode(image).latent_dist`, within rounding.

    Args:
        vae: a diffusers `AutoencoderKL`.
        image: (B, 3, H, W) in [−1, 1], on the device to compute on.
        scaled: True for latents as a U-Net takes them (times `scaling_factor` and so on), not as `vae.encode`
            gives them.
        dtype, room, storage, on_progress: as for `decode`.

    Returns:
        (B, C, h, w), the mean of the posterior.

    Raises:
        RedilateError: as `decode`.
    """
    both = moments(vae, image, dtype=dtype, room=room, storage=storage, on_progress=on_progress)
    mean = both.chunk(2, 1)[0]
    return rescale(vae, mean) if scaled else mean


@torch.inference_mode()
def moments(
    vae: Any,
    image: Tensor,
    *,
    dtype: torch.dtype | None = None,
    room: int | None = None,
    storage: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
    pool: int = 1,
) -> Tensor:
    """(B, 2C, h, w): mean and log variance, what `DiagonalGaussianDistribution` is made of. Arguments as `encode`.

    `pool`: over how many latents per side the mid block's keys and values are averaged, for a picture that has been
    enlarged so many times and has no more to say; 1 is exact.
    """
    steps = encoder_steps(vae, pool)
    _check_channels(image, vae.config.in_channels, "a picture")
    last = (vae.encoder.conv_norm_out, vae.encoder.conv_out)
    out = _run(vae, steps, last, image, dtype, _limits(image, room, storage), on_progress)
    if vae.quant_conv is None:
        return out
    return next(pointwise([out], vae.quant_conv))


def bytes_needed(vae: Any, height: int, width: int, device: torch.device) -> int:
    """About how many bytes `decode` holds at its peak for latents of height × width, without the weights.

    Raises:
        RedilateError: as `decode`.
    """
    start = torch.empty(
        (1, vae.config.latent_channels, height, width), dtype=working_type(vae), device="meta"
    )
    # Counted on tensors without data, a pass with its shortcuts and halos holds up to sixteen strips.
    return least_room(decoder_steps(vae), start) + 16 * _strip_bytes(device)


def unscale(vae: Any, latents: Tensor) -> Tensor:
    """Latents as a U-Net has them → as `vae.decode` takes them, as diffusers' pipelines do it."""
    config = vae.config
    mean, std = _statistics(config, latents)
    if mean is not None and std is not None:
        return latents * std / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)


def rescale(vae: Any, latents: Tensor) -> Tensor:
    """The reverse of `unscale`."""
    config = vae.config
    mean, std = _statistics(config, latents)
    if mean is not None and std is not None:
        return (latents - mean) * config.scaling_factor / std
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor


def working_type(vae: Any) -> torch.dtype:
    """The type to decode in: float32 for a float16 autoencoder that overflows in it, as SDXL's does; else its own."""
    if vae.dtype is torch.float16 and getattr(vae.config, "force_upcast", False):
        return torch.float32
    return vae.dtype


def _check_channels(batch: Tensor, channels: int, what: str) -> None:
    if batch.dim() != 4 or batch.shape[1] != channels or 0 in batch.shape:
        raise RedilateError(
            f"{what} of shape {tuple(batch.shape)} is not this autoencoder's; it takes (B, {channels}, height, width)"
        )


def _statistics(config: Any, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return None, None
    return torch.tensor(mean).view(1, -1, 1, 1).to(like), torch.tensor(std).view(1, -1, 1, 1).to(like)


def _limits(like: Tensor, room: int | None, storage: torch.device | str | None) -> Limits:
    return Limits(_strip_bytes(like.device), room, None if storage is None else torch.device(storage))


def _strip_bytes(device: torch.device) -> int:
    return _STRIP_ON_CPU if device.type == "cpu" else _STRIP_ELSEWHERE


def _run(
    vae: Any,
    steps: list[Step],
    last: tuple[Any, Any],
    batch: Tensor,
    dtype: torch.dtype | None,
    limits: Limits,
    on_progress: OnProgress | None,
) -> Tensor:
    hook = getattr(
        vae, "_hf_hook", None
    )  # model offload: the network before makes room, as `vae.decode` has it
    if hook is not None and hasattr(hook, "pre_forward"):
        hook.pre_forward(vae)
    batch = batch.to(dtype or working_type(vae))
    tick = _progress(steps, last, batch, limits, on_progress)
    out: Tensor | None = None
    for index in range(batch.shape[0]):
        # oneDNN and tensor cores take channels last as it is, and reorder anything else at every strip.
        one = batch[index : index + 1].contiguous(memory_format=torch.channels_last)
        row = 0
        for strip in run(steps, last, one, limits, tick):
            if out is None:
                size = size_after(steps, (batch.shape[2], batch.shape[3]))
                out = torch.empty(
                    (batch.shape[0], strip.shape[1], *size), dtype=strip.dtype, device=strip.device
                )
            out[index : index + 1, :, row : row + strip.shape[2]] = strip
            row += strip.shape[2]
    assert out is not None
    return out


def _progress(
    steps: list[Step], last: tuple[Any, Any], batch: Tensor, limits: Limits, on_progress: OnProgress | None
) -> Tick:
    """What counts the work done and reports it; the work in all is counted in a run on tensors without data."""
    if on_progress is None:
        return lambda work: None
    total = done = 0

    def count(work: int) -> None:
        nonlocal total
        total += work * batch.shape[0]

    for _ in run(steps, last, batch[:1].to("meta"), Limits(limits.strip, limits.room), count):
        pass

    def report(work: int) -> None:
        nonlocal done
        done += work
        on_progress(done, total)

    return report
