"""Exact decode and encode of pictures of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.devices import device_bytes
from ..errors import RedilateError
from .layers import pointwise
from .passes import Limits, Tick, largest_output_bytes, run
from .steps import (
    Step,
    autoencoder_of,
    computing_device,
    decoder_steps,
    encoder_steps,
    has_weights,
    rescale,
    size_after,
    unscale,
    whole_bytes,
    working_type,
)

OnProgress = Callable[[int, int], None]

_MIB = 2**20
# A strip that stays in a CPU's cache through several layers; a GPU needs more work at a time.
_STRIP_ON_CPU, _STRIP_ELSEWHERE = 16 * _MIB, 64 * _MIB


@torch.inference_mode()
def decode(
    pipe_or_vae: Any,
    latents: Tensor,
    *,
    scaled: bool = True,
    dtype: torch.dtype | None = None,
    storage: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
) -> Tensor:
    """Decode latents in strips: the pipeline's own decode, within rounding, in little memory.

    Nothing is approximated, so there are no seams and no changes of tone: GroupNorm has the statistics of the whole
    picture, each strip its true neighbours, and the mid block attends to all pixels. The autoencoder is not changed;
    its tiling and slicing settings are ignored.

    Args:
        pipe_or_vae: a pipeline with a `vae`, or the autoencoder: a diffusers `AutoencoderKL`, or an `AutoencoderTiny`,
            which decodes without strips.
        latents: (B, C, h, w), as a pipeline returns them with `output_type="latent"`; on any device.
        scaled: False for latents as `vae.decode` takes them: without `scaling_factor`, `shift_factor`, `latents_mean`
            and `latents_std`.
        dtype: of the computation; None: the autoencoder's, but float32 for a float16 one that overflows
            (`force_upcast`).
        storage: the device that stores activations between passes; None: the computing device, or the host if a GPU has
            too little free memory.
        on_progress: called with (multiply-accumulates done, in all).

    Returns:
        (B, 3, H, W) in [−1, 1], of type `dtype`, on the computing device.

    Raises:
        RedilateError: for an autoencoder that cannot be run in strips or has no weights, or latents that do not fit it,
            have no values (the device "meta") or are not all finite.
    """
    vae = autoencoder_of(pipe_or_vae)
    if type(vae).__name__ == "AutoencoderTiny":
        _check_given(vae, latents, vae.config.latent_channels, "latents")
        latents = unscale(vae, latents) if scaled else latents
        return vae.decode(_where_tiny_is(vae, latents)).sample.clamp_(-1, 1)
    steps = decoder_steps(vae)
    _check_given(vae, latents, vae.config.latent_channels, "latents")
    latents = latents.to(computing_device(vae, latents), dtype or working_type(vae))
    latents = unscale(vae, latents) if scaled else latents
    last = (vae.decoder.conv_norm_out, vae.decoder.conv_out)
    size = (latents.shape[2], latents.shape[3])
    offload_the_others(vae)
    limits = _limits(vae, size, latents.device, storage)
    return in_strips(steps, last, latents, limits, on_progress).clamp_(-1, 1)


@torch.inference_mode()
def encode(
    pipe_or_vae: Any,
    image: Tensor,
    *,
    scaled: bool = True,
    dtype: torch.dtype | None = None,
    storage: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
) -> Tensor:
    """Encode a picture in strips: the mode of `vae.encode(image).latent_dist`, within rounding.

    Args:
        pipe_or_vae, dtype, storage, on_progress: as for `decode`.
        image: (B, 3, H, W) in [−1, 1], on any device.
        scaled: False for latents as `vae.encode` gives them, not scaled for the U-Net.

    Returns:
        (B, C, h, w), the mean of the posterior, on the computing device.

    Raises:
        RedilateError: as `decode`.
    """
    vae = autoencoder_of(pipe_or_vae)
    if type(vae).__name__ == "AutoencoderTiny":
        _check_given(vae, image, vae.config.in_channels, "a picture")
        mean = vae.encode(_where_tiny_is(vae, image)).latents
    else:
        both = posterior_of(vae, image, dtype=dtype, storage=storage, on_progress=on_progress)
        mean = both.chunk(2, 1)[0]
    return rescale(vae, mean) if scaled else mean


@torch.inference_mode()
def posterior_of(
    vae: Any,
    image: Tensor,
    *,
    dtype: torch.dtype | None = None,
    storage: torch.device | str | None = None,
    on_progress: OnProgress | None = None,
    pool: int = 1,
) -> Tensor:
    """(B, 2C, h, w): mean and log variance for `DiagonalGaussianDistribution`. Arguments as for `encode`.

    `pool`: over how many latents per side the mid block's keys and values are averaged, for a picture that was enlarged
    so many times; 1 is exact.
    """
    steps = encoder_steps(vae, pool)
    _check_given(vae, image, vae.config.in_channels, "a picture")
    image = image.to(computing_device(vae, image), dtype or working_type(vae))
    last = (vae.encoder.conv_norm_out, vae.encoder.conv_out)
    size = size_after(steps, (image.shape[2], image.shape[3]))
    offload_the_others(vae)
    out = in_strips(steps, last, image, _limits(vae, size, image.device, storage), on_progress)
    if vae.quant_conv is None:
        return out
    return next(pointwise([out], vae.quant_conv))


def offload_the_others(vae: Any) -> None:
    """Under model offload, move the previous network off the device, as the autoencoder's own `decode` does."""
    hook = getattr(vae, "_hf_hook", None)
    if hook is not None and hasattr(hook, "pre_forward"):
        hook.pre_forward(vae)


def whole_decode_bytes(vae: Any, height: int, width: int) -> int:
    """About how many bytes the autoencoder's own decode of height × width latents needs, without the weights."""
    shape = (1, vae.config.latent_channels, height, width)
    return whole_bytes(decoder_steps(vae), torch.empty(shape, dtype=working_type(vae), device="meta"))


def whole_encode_bytes(vae: Any, height: int, width: int) -> int:
    """The same for its encode of a picture of height × width pixels."""
    shape = (1, vae.config.in_channels, height, width)
    return whole_bytes(encoder_steps(vae), torch.empty(shape, dtype=working_type(vae), device="meta"))


def bytes_needed(vae: Any, height: int, width: int, device: torch.device) -> int:
    """About how many bytes `decode` needs at its peak for height × width latents, without the weights."""
    start = torch.empty(
        (1, vae.config.latent_channels, height, width), dtype=working_type(vae), device="meta"
    )
    # A pass with its shortcuts and neighbours has up to sixteen strips (counted on tensors without data).
    return largest_output_bytes(decoder_steps(vae), start) + 16 * strip_bytes(device)


def check_finite(batch: Tensor, what: str) -> None:
    """RedilateError for a batch that is not all finite: the picture would be black."""
    if not batch.isfinite().all():
        raise RedilateError(
            f"{what} of type {batch.dtype} is not all finite numbers, as where a network overflows in float16; "
            "bfloat16 or float32 works"
        )


def _check_given(vae: Any, batch: Tensor, channels: int, what: str) -> None:
    if not isinstance(batch, Tensor):
        raise RedilateError(
            f"{what} is a {type(batch).__name__}; a tensor (B, {channels}, height, width) works"
        )
    if batch.dim() != 4 or batch.shape[1] != channels or 0 in batch.shape:
        frames = "; of a film one frame at a time" if batch.dim() == 5 else ""
        raise RedilateError(
            f"{what} of shape {tuple(batch.shape)} is not this autoencoder's; it takes (B, {channels}, height, "
            f"width){frames}"
        )
    if "meta" in (batch.device.type, computing_device(vae, batch).type) or not has_weights(vae):
        raise RedilateError(
            f"{what} or the autoencoder is on the device 'meta', which holds no values; load it, or move it with .to(…)"
        )
    check_finite(batch, what)


def _where_tiny_is(vae: Any, batch: Tensor) -> Tensor:
    """The batch with the type and device of a tiny autoencoder, which runs without strips."""
    return batch.to(computing_device(vae), vae.dtype)


def _limits(
    vae: Any, size: tuple[int, int], device: torch.device, storage: torch.device | str | None
) -> Limits:
    """Strips for `device`, stored as asked, or on the host if a GPU has too little memory for latents of `size`."""
    if (
        storage is None
        and device.type == "cuda"
        and bytes_needed(vae, *size, device) > device_bytes(device)[0]
    ):
        storage = "cpu"
    return Limits(strip_bytes(device), None if storage is None else torch.device(storage))


def strip_bytes(device: torch.device) -> int:
    """The size of a strip in bytes."""
    return _STRIP_ON_CPU if device.type == "cpu" else _STRIP_ELSEWHERE


def in_strips(
    steps: list[Step],
    last: tuple[Any, Any],
    batch: Tensor,
    limits: Limits,
    on_progress: OnProgress | None = None,
) -> Tensor:
    """Run half an autoencoder in strips: its `steps`, then the `last` normalisation and convolution.

    Args:
        steps: `steps.decoder_steps` or `encoder_steps`.
        batch: (B, C, H, W), with the computation's type and device.
        limits: of memory.
        on_progress: as for `decode`.

    Returns:
        (B, channels of the last convolution, H', W').
    """
    tick = _progress(steps, last, batch, limits, on_progress)
    out: Tensor | None = None
    for index in range(batch.shape[0]):
        # oneDNN and tensor cores would reorder any other memory format at every strip.
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
    """A function that adds up the work done and reports it; a run on tensors without data counts the total."""
    if on_progress is None:
        return lambda work: None
    total = done = 0

    def count(work: int) -> None:
        nonlocal total
        total += work * batch.shape[0]

    for _ in run(steps, last, batch[:1].to("meta"), Limits(limits.strip), count):
        pass

    def report(work: int) -> None:
        nonlocal done
        done += work
        on_progress(done, total)

    return report
