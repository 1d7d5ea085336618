"""Re-dilated and dispersed convolutions: the same kernel with its taps further apart, at the same output size.

f(h) = h ⊛ Φ_d(k), ScaleCrafter (arXiv 2310.07702), section 3.2. The Conv2d keeps its parameters, attributes and hooks.
Only its class changes, to a subclass that overrides `_conv_forward`: that survives accelerate's hooks, deepcopy and
torch.compile, which a replaced `forward` does not, and a LoRA that copies `dilation` or `padding` copies no change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, product
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .band_limit import band_limited
from .dispersion import disperse, dispersion_matrix

Pair = tuple[int, int]
Dilation = tuple[float, float]
Fractional = Literal["taps", "channels", "published"]


class _Plain(NamedTuple):
    """A plain convolution's settings."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    padding_mode: str

    def convolve(self, input: Tensor, weight: Tensor, redilated: Pair, bias: Tensor | None) -> Tensor:
        """Convolve with taps `redilated` whole pixels apart on each axis."""
        (top, bottom), (left, right) = (
            redilated_padding(
                weight.shape[2 + axis], self.padding[axis], self.dilation[axis], redilated[axis]
            )
            for axis in (0, 1)
        )
        if self.padding_mode == "zeros" and top == bottom and left == right:
            return F.conv2d(input, weight, bias, self.stride, (top, left), redilated, self.groups)
        padded = _padded(input, (left, right, top, bottom), self.padding_mode)
        return F.conv2d(padded, weight, bias, self.stride, 0, redilated, self.groups)


def redilated_padding(kernel: int, padding: int, dilation: int, redilated: int) -> Pair:
    """Padding (before, after) along one axis that keeps the plain convolution's output size and centre.

    The re-dilated kernel spans `(redilated - dilation) * (kernel - 1)` more pixels. Both sides share them; an even
    kernel's odd pixel goes after.
    """
    extra = (redilated - dilation) * (kernel - 1)
    return padding + extra // 2, padding + extra - extra // 2


def redilated_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    factor: Dilation,
    padding_mode: str = "zeros",
    fractional: Fractional = "taps",
) -> Tensor:
    """Convolve with the dilation multiplied by `factor` = (d_h, d_w), each ≥ 1, integer or not.

    Args:
        input: (B, C_in, H, W).
        weight: (C_out, C_in / groups, k_h, k_w).
        stride, padding, dilation, groups, padding_mode: those of the plain convolution.
        factor: ScaleCrafter's d: how many times further apart the taps are, per axis (height, width).
        fractional: how a fractional factor is computed: `_between_taps` (`_between_halves` where it is a multiple of
            a half), `_between_channels` or `_as_published`.

    Returns:
        (B, C_out, H', W') with the plain convolution's H' and W'.
    """
    plain = _Plain(stride, padding, dilation, groups, padding_mode)
    redilated = (dilation[0] * factor[0], dilation[1] * factor[1])
    if redilated[0] == int(redilated[0]) and redilated[1] == int(redilated[1]):
        return plain.convolve(input, weight, (int(redilated[0]), int(redilated[1])), bias)
    if fractional == "published":
        return _as_published(input, weight, bias, plain, factor)
    if fractional == "channels" and groups == 1:
        return _between_channels(input, weight, bias, plain, redilated)
    if all(_is_halved(axis, kernel) for axis, kernel in zip(redilated, weight.shape[2:], strict=True)):
        return _between_halves(input, weight, bias, plain, redilated)
    return _between_taps(input, weight, bias, plain, redilated)


def _padded(input: Tensor, around: tuple[int, int, int, int], padding_mode: str) -> Tensor:
    """Pad `input` by (left, right, top, bottom) pixels as a convolution with this `padding_mode` does."""
    return F.pad(input, around, mode="constant" if padding_mode == "zeros" else padding_mode)


def _between_taps(
    input: Tensor, weight: Tensor, bias: Tensor | None, plain: _Plain, redilated: Dilation
) -> Tensor:
    """Each outer tap interpolates linearly between the two nearest whole dilations.

    A tap at j·s, with s = n + f, reads (1 - f)·h[j·n] + f·h[j·(n + 1)]. Summed over a 3×3 kernel this is a mixture of
    convolutions with whole dilations: nothing is resampled, and an identity kernel stays the identity.
    """
    total: Tensor | None = None
    for (height, height_share), (width, width_share) in product(
        _neighbours(redilated[0]), _neighbours(redilated[1])
    ):
        # The shares sum to 1, so the bias enters once in all.
        part = plain.convolve(input, weight, (height, width), bias) * (height_share * width_share)
        total = part if total is None else total + part
    assert total is not None
    return total


def _between_channels(
    input: Tensor, weight: Tensor, bias: Tensor | None, plain: _Plain, redilated: Dilation
) -> Tensor:
    """The first (1 - f) C input channels with dilation n, the last f C with n + 1: as fast as the plain convolution.

    n + f is the mean dilation over channels. The order measured better on the bundled model: a U-Net's decoder has its
    skip connection in the last channels, which then get the wider taps.
    """
    channels = input.shape[1]
    below = [_neighbours(axis)[0] for axis in redilated]
    until = [round(channels * share) for _, share in below]
    total: Tensor | None = None
    for first, last in pairwise(sorted({0, *until, channels})):
        height, width = (whole + (first >= end) for (whole, _), end in zip(below, until, strict=True))
        part = plain.convolve(
            _share(input, first, last),
            _share(weight, first, last),
            (height, width),
            bias if total is None else None,
        )
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _share(tensor: Tensor, first: int, last: int) -> Tensor:
    """Channels `first` to `last` of features or kernels; on a GPU contiguous in the memory format of the whole.

    cuDNN would copy a slice itself, and not in channels-last order.
    """
    part = tensor[:, first:last]
    if tensor.device.type == "cpu":  # oneDNN reads a slice where it is
        return part
    last_is = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return part.contiguous(memory_format=torch.channels_last if last_is else torch.contiguous_format)


def _is_halved(redilated: float, kernel: int) -> bool:
    """Whether every tap along an axis is at a whole pixel or half-way between two."""
    return kernel % 2 == 1 and 2 * redilated % 1 == 0


def _between_halves(
    input: Tensor, weight: Tensor, bias: Tensor | None, plain: _Plain, redilated: Dilation
) -> Tensor:
    """`_between_taps` for dilations n and n + ½, with no more multiplications than the plain convolution.

    Along an axis with dilation n + ½ every other tap reads the input at a whole pixel, and the others read the means of
    two neighbours. Within each group the taps are 2 n + 1 apart, so each group is one ordinary dilated convolution.
    """
    axes = [
        _tap_groups(*sides)
        for sides in zip(
            input.shape[2:],
            weight.shape[2:],
            plain.stride,
            plain.padding,
            plain.dilation,
            redilated,
            strict=True,
        )
    ]
    (top, bottom), (left, right) = (
        (max(0, -min(one.start for one in parts)), max(0, max(one.end for one in parts) - size))
        for parts, size in zip(axes, input.shape[2:], strict=True)
    )
    total: Tensor | None = None
    # A CPU takes as many channels at once as the output has, so that the means stay in its cache. A GPU is faster with
    # one large convolution.
    cut = plain.groups == 1 and input.device.type == "cpu"
    together = weight.shape[0] if cut else input.shape[1]
    for channels, kernels in zip(input.split(together, 1), weight.split(together, 1), strict=True):
        padded = _padded(channels, (left, right, top, bottom), plain.padding_mode)
        for rows in axes[0]:
            of_rows = rows.read(padded, 2, top)
            for columns in axes[1]:
                part = F.conv2d(
                    columns.read(of_rows, 3, left),
                    kernels[:, :, rows.first :: rows.every, columns.first :: columns.every],
                    bias if total is None else None,
                    plain.stride,
                    0,
                    (rows.apart, columns.apart),
                    plain.groups,
                )
                total = part if total is None else total.add_(part)
    assert total is not None
    return total


@dataclass(frozen=True)
class _Taps:
    """Taps of a kernel along one axis, all at whole pixels or all half-way between two.

    Attributes:
        first, every: taps first, first + every, ….
        apart: pixels from one to the next.
        start, end: they read the input's pixels from `start` on and before `end`.
        halfway: whether they read the means of two neighbours.
    """

    first: int
    every: int
    apart: int
    start: int
    end: int
    halfway: bool

    def read(self, padded: Tensor, axis: int, before: int) -> Tensor:
        """The part of `padded` that they read; `padded` has `before` more pixels before the input's first."""
        length = self.end - self.start - self.halfway
        at = padded.narrow(axis, self.start + before, length)
        # One pass, and no sum that could overflow in float16.
        return (
            torch.lerp(at, padded.narrow(axis, self.start + before + 1, length), 0.5) if self.halfway else at
        )


def _tap_groups(
    size: int, kernel: int, stride: int, padding: int, dilation: int, redilated: float
) -> list[_Taps]:
    """The taps along one axis: one group for dilation n, two for n + ½."""
    every = 1 if redilated % 1 == 0 else 2
    apart = int(every * redilated)
    output = _output_size(size, kernel, stride, padding, dilation)
    # Where the kernel's centre is for the first output pixel, in input pixels.
    centre = dilation * (kernel - 1) / 2 - padding
    groups = []
    for first in range(min(every, kernel)):
        place = centre + redilated * (first - (kernel - 1) / 2)
        start, halfway = math.floor(place), place % 1 != 0
        count = len(range(first, kernel, every))
        end = start + (output - 1) * stride + apart * (count - 1) + 1 + halfway
        groups.append(_Taps(first, every, apart, start, end, halfway))
    return groups


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The plain convolution's output size along an axis."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _neighbours(redilated: float) -> list[tuple[int, float]]:
    """The whole dilations below and above `redilated` with their weights; itself if it is whole."""
    below = math.floor(redilated)
    share = redilated - below
    return [(below, 1.0)] if share == 0 else [(below, 1 - share), (below + 1, share)]


def _as_published(
    input: Tensor, weight: Tensor, bias: Tensor | None, plain: _Plain, factor: Dilation
) -> Tensor:
    """interp_{1/s}(interp_s(h) ⊛ Φ_⌈d⌉(k)) with s = ⌈d⌉/d, bilinear: ScaleCrafter, equation 3. For parity; it blurs."""
    height, width = input.shape[-2:]
    whole = (math.ceil(factor[0]), math.ceil(factor[1]))
    enlarged = (round(height * whole[0] / factor[0]), round(width * whole[1] / factor[1]))
    output = [
        _output_size(
            size, weight.shape[2 + axis], plain.stride[axis], plain.padding[axis], plain.dilation[axis]
        )
        for axis, size in enumerate((height, width))
    ]
    stretched = F.interpolate(input, size=enlarged, mode="bilinear", align_corners=False)
    redilated = (plain.dilation[0] * whole[0], plain.dilation[1] * whole[1])
    return F.interpolate(
        plain.convolve(stretched, weight, redilated, bias),
        size=output,
        mode="bilinear",
        align_corners=False,
    )


def nearest_half(dilation: float) -> float:
    """`dilation` rounded to the nearest half, at least 1, so that there are few dilations and few compiled graphs.

    Ties go to the whole number, which is the cheaper convolution.
    """
    # Rounded first, so that floating-point error does not decide.
    return max(1.0, round(2 * round(dilation, 9)) / 2)


def is_neutral(dilation: Dilation) -> bool:
    """Whether `dilation` leaves a convolution as it was trained."""
    return dilation[0] == 1 and dilation[1] == 1


def validate_dilation(dilation: Dilation) -> None:
    """Raise ValueError unless both axes are finite and at least 1."""
    if len(dilation) != 2 or not all(math.isfinite(axis) and axis >= 1 for axis in dilation):
        raise ValueError(f"a dilation is two numbers (height, width) of at least 1, not {dilation!r}")


_STATE = "_redilation"


@dataclass(frozen=True)
class Dispersion:
    """How kernels are dispersed: by `scale` along each axis whose dilation is a multiple of it.

    A kernel dispersed by s reaches as far with dilation d / s as a re-dilated one with d. `input_size` and `eta` as in
    `dispersion_matrix`; `input_size` is 9 because the published 3 brightens every layer by 8 %.
    """

    scale: int = 2
    input_size: int = 9
    eta: float = 0.05

    def __post_init__(self) -> None:
        if self.scale < 2 or self.input_size < 3 or self.eta <= 0:
            raise ValueError(f"dispersion needs scale ≥ 2, input_size ≥ 3 and eta > 0, not {self}")

    def scales(self, factor: Dilation) -> tuple[int, int]:
        """(height, width): `scale` where it divides the dilation `factor`, else 1."""
        height, width = (self.scale if axis % self.scale == 0 else 1 for axis in factor)
        return height, width


@dataclass(frozen=True)
class _Enlarged:
    """A dispersed kernel: its scale and size along each axis, and the matrix that makes it."""

    scales: Pair
    size: Pair
    matrix: Tensor


@dataclass
class Redilation:
    """The current state of one convolution; the patch changes `dilation` as the noise level falls."""

    dilation: Dilation = (1.0, 1.0)
    dispersion: Dispersion | None = None
    fractional: Fractional = "taps"
    low_pass: bool = False  # remove from the input what the dilated kernel would alias
    # The dispersed kernel for the two above, computed ahead, outside any compiled graph.
    enlarged: _Enlarged | None = None


class RedilatedConv2d(nn.Conv2d):
    """A convolution that reads its dilation from `_redilation`; at dilation 1 it runs the original's code."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        state: Redilation | None = self.__dict__.get(_STATE)
        # PEFT gives a LoRA's convolutions the class of the one it wraps: those have no state.
        if state is None or is_neutral(state.dilation):
            return super()._conv_forward(input, weight, bias)
        factor = state.dilation
        padding = _numeric_padding(self)
        if state.enlarged is not None:
            scales, large, small = state.enlarged.scales, state.enlarged.size, weight.shape[2:]
            # Computed in each call, for some hundredths of the convolution's work: a stored kernel would miss silent
            # changes (`weight.data += …`, as merging a LoRA does) and take memory between calls.
            weight = disperse(weight, state.enlarged.matrix, large)
            # The larger kernel needs more padding for the same centre.
            padding = (
                padding[0] + (large[0] - small[0]) * self.dilation[0] // 2,
                padding[1] + (large[1] - small[1]) * self.dilation[1] // 2,
            )
            factor = (factor[0] / scales[0], factor[1] / scales[1])
        if state.low_pass:
            # The network was trained with what the stride itself aliases.
            stride = _pair(self.stride)
            input = band_limited(input, (max(1.0, factor[0] / stride[0]), max(1.0, factor[1] / stride[1])))
        return redilated_conv2d(
            input,
            weight,
            bias,
            stride=_pair(self.stride),
            padding=padding,
            dilation=_pair(self.dilation),
            groups=self.groups,
            factor=factor,
            padding_mode=self.padding_mode,
            fractional=state.fractional,
        )


def exchange(
    conv: nn.Conv2d, dispersion: Dispersion | None, fractional: Fractional, low_pass: bool = False
) -> None:
    """Make `conv` re-dilatable in place, at dilation 1; `restore` undoes it."""
    if type(conv) is nn.Conv2d:
        conv.__class__ = RedilatedConv2d
    elif not isinstance(conv, RedilatedConv2d):
        # A library's own Conv2d keeps its methods; only `_conv_forward` is ours.
        conv.__class__ = _subclass(type(conv))
    conv.__dict__[_STATE] = Redilation(dispersion=dispersion, fractional=fractional, low_pass=low_pass)


@cache
def _subclass(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    # Cached, because torch.compile makes a new graph for a new class.
    return type(f"Redilated{kind.__name__}", (RedilatedConv2d, kind), {})


def restore(conv: nn.Conv2d) -> None:
    """Give `conv` its own class back; no-op for one that was never exchanged."""
    conv.__dict__.pop(_STATE, None)
    if isinstance(conv, RedilatedConv2d):
        original = type(conv).__bases__[-1]
        conv.__class__ = original


def set_dilation(conv: nn.Conv2d, dilation: Dilation) -> None:
    """Set the dilation of an exchanged convolution for its next calls."""
    state: Redilation = conv.__dict__[_STATE]
    state.dilation = dilation
    state.enlarged = None
    if state.dispersion is not None and (scales := state.dispersion.scales(dilation)) != (1, 1):
        state.enlarged = _enlarge(_pair(conv.kernel_size), scales, state.dispersion)


@lru_cache(maxsize=32)
def _enlarge(small: Pair, scales: Pair, dispersion: Dispersion) -> _Enlarged:
    large = (scales[0] * (small[0] - 1) + 1, scales[1] * (small[1] - 1) + 1)
    matrix = dispersion_matrix(small, large, scales, dispersion.input_size, dispersion.eta)
    with torch.inference_mode(False):  # cached for later calls, which may need gradients
        return _Enlarged(scales, large, torch.tensor(matrix, device="cpu"))


def _numeric_padding(conv: nn.Conv2d) -> Pair:
    """`padding` as numbers: torch also allows "same" and "valid"."""
    if isinstance(conv.padding, str):
        if conv.padding == "valid":
            return (0, 0)
        height, width = (
            axis * (size - 1) // 2 for axis, size in zip(conv.dilation, conv.kernel_size, strict=True)
        )
        return height, width
    return _pair(conv.padding)


def _pair(sizes: tuple[int, ...]) -> Pair:
    """A Conv2d's attribute as (height, width)."""
    height, width = sizes
    return height, width
