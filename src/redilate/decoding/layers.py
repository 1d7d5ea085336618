"""The layers of an autoencoder as generators from strips to strips.

A pass casts its weights to the activations' type and device and frees them at its end, so a float16 autoencoder can be
decoded in float32 without a change to it, and an offloaded one layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from .strips import ChannelStatistics, at_least_float32, with_neighbours


def parameters_of(module: nn.Module, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) of a convolution, normalisation or linear layer, with the type and device of `like`."""
    hook = getattr(module, "_hf_hook", None)  # accelerate's sequential offload loads weights for a call only
    if hook is not None:
        hook.pre_forward(module)
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    weight, bias = weight.detach(), None if bias is None else bias.detach()
    if hook is not None:
        hook.post_forward(module, None)
    return weight.to(like), None if bias is None else bias.to(like)


def convolve(strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
    """A 3×3 convolution with padding 1, or a 1×1 one; the output has the input's strips."""
    if conv.kernel_size == (1, 1):
        yield from pointwise(strips, conv)
        return
    loaded = None
    for rows in with_neighbours(strips):
        weight, bias = loaded = loaded or _kernel(conv, rows)
        yield functional.conv2d(rows, weight, bias, padding=(0, 1))


def pointwise(strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
    """A 1×1 convolution."""
    loaded = None
    for strip in strips:
        weight, bias = loaded = loaded or _kernel(conv, strip)
        yield functional.conv2d(strip, weight, bias)


def upsample(strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
    """Nearest-neighbour upsampling by 2, then a 3×3 convolution: strips of r × W pixels become 2r × 2W.

    Several of the nine taps read the same original pixel. Their sums are four 2×2 kernels, one for each of the four
    output pixels: 16 multiplications and not 36.
    """
    loaded = None
    for rows in with_neighbours(strips):
        kernels, bias = loaded = loaded or _phases(conv, rows)
        rows = functional.pad(rows, (1, 1))
        height, width = rows.shape[2] - 2, rows.shape[3] - 2
        out = torch.empty(
            (1, conv.out_channels, 2 * height, 2 * width),
            dtype=rows.dtype,
            device=rows.device,
            memory_format=_format(rows),
        )
        for down in (0, 1):
            for right in (0, 1):
                part = rows[:, :, down : down + height + 1, right : right + width + 1]
                out[:, :, down::2, right::2] = functional.conv2d(part, kernels[down, right], bias)
        yield out


def _phases(conv: nn.Conv2d, like: Tensor) -> tuple[dict[tuple[int, int], Tensor], Tensor | None]:
    weight, bias = parameters_of(conv, at_least_float32(like[:, :, :1]))
    top, middle, bottom = weight.unbind(2)
    by_row = (torch.stack([top, middle + bottom], 2), torch.stack([top + middle, bottom], 2))
    kernels = {}
    for down, kernel in enumerate(by_row):
        left, centre, right = kernel.unbind(3)
        for side, taps in enumerate(((left, centre + right), (left + centre, right))):
            kernels[down, side] = torch.stack(taps, 3).to(like.dtype).contiguous(memory_format=_format(like))
    return kernels, None if bias is None else bias.to(like.dtype)


def downsample(strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
    """The encoder's 3×3 convolution of stride 2, with one row of zeros below and one column to the right.

    All strips but the last must have an even number of rows.
    """
    loaded = None
    for rows in with_neighbours(strips):
        weight, bias = loaded = loaded or _kernel(conv, rows)
        if rows.shape[2] >= 4:  # a last strip of one row gives no output
            yield functional.conv2d(functional.pad(rows[:, :, 1:], (0, 1)), weight, bias, stride=2)


class Normalised:
    """GroupNorm with the statistics of the whole picture, then the activation; called on strips, yields strips."""

    def __init__(
        self, norm: nn.GroupNorm, statistics: ChannelStatistics, activation: nn.Module | None = None
    ):
        self._norm = norm
        self._statistics = statistics
        self._activation = activation

    def __call__(self, strips: Iterable[Tensor]) -> Iterator[Tensor]:
        loaded = None
        for strip in strips:
            scale, shift = loaded = loaded or self._affine(strip)
            # Half precision is normalised in float32 and rounded once, as in torch's own GroupNorm.
            out = torch.addcmul(shift, at_least_float32(strip), scale).to(strip.dtype)
            yield out if self._activation is None else self._activation(out)

    def _affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """x → scale · x + shift, (1, C, 1, 1) each, in float32 at least."""
        mean, variance = self._statistics.grouped(self._norm.num_groups)
        inverse = (variance + self._norm.eps).rsqrt()
        size = self._norm.num_channels // self._norm.num_groups
        mean, inverse = mean.repeat_interleave(size), inverse.repeat_interleave(size)
        if self._norm.affine:
            weight, bias = parameters_of(self._norm, mean)
            assert bias is not None
            inverse = inverse * weight
            shift = bias - mean * inverse
        else:
            shift = -mean * inverse
        kind = at_least_float32(like).dtype
        return inverse.to(kind).reshape(1, -1, 1, 1), shift.to(kind).reshape(1, -1, 1, 1)


def _kernel(conv: nn.Conv2d, like: Tensor) -> tuple[Tensor, Tensor | None]:
    weight, bias = parameters_of(conv, like)
    return weight.contiguous(memory_format=_format(like)), bias


def _format(tensor: Tensor) -> torch.memory_format:
    last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
