"""A Conv2d that can be re-dilated and dispersed while it keeps its parameters, attributes and hooks.

The module's class is exchanged for a subclass that overrides `_conv_forward`. Unlike a replaced `forward`, that
survives accelerate's hooks, deepcopy and torch.compile; unlike changed `dilation` or `padding` attributes, nothing
that copies them (LoRA) inherits the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor, nn

from .band_limit import band_limited
from .dispersion import disperse, dispersion_matrix
from .geometry import Dilation, Fractional, Pair, is_neutral, redilated_conv2d

_STATE = "_redilation"


@dataclass(frozen=True)
class Dispersion:
    """How kernels are dispersed: by `scale` per axis where the dilation is a multiple of it, else not at all.

    A kernel dispersed by s needs only dilation d / s for the reach of a re-dilated one with d. `input_size` and
    `eta` as in `dispersion_matrix`. 9, not the published 3, because the latter brightens every layer by 8 %.
    """

    scale: int = 2
    input_size: int = 9
    eta: float = 0.05

    def __post_init__(self) -> None:
        if self.scale < 2 or self.input_size < 3 or self.eta <= 0:
            raise ValueError(f"dispersion needs scale ≥ 2, input_size ≥ 3 and eta > 0, not {self}")

    def scales(self, factor: Dilation) -> tuple[int, int]:
        """The scale that applies on each axis under a dilation of `factor`: `scale`, or 1 where it does not divide."""
        height, width = (self.scale if axis % self.scale == 0 else 1 for axis in factor)
        return height, width


@dataclass(frozen=True)
class _Enlarged:
    """A dispersed kernel at one dilation: its scale and size on each axis, and the matrix that makes it."""

    scales: Pair
    size: Pair
    matrix: Tensor


@dataclass
class Redilation:
    """What one convolution does at the moment; the patch changes `factor` as the noise level falls."""

    factor: Dilation = (1.0, 1.0)
    dispersion: Dispersion | None = None
    fractional: Fractional = "taps"
    low_pass: bool = False  # what the dilated kernel would fold back is taken off its input
    enlarged: _Enlarged | None = (
        None  # follows from the two above; worked out ahead, outside any compiled graph
    )


class RedilatedConv2d(nn.Conv2d):
    """A convolution that reads its dilation from `_redilation`; neutral, it runs the original's own code."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        state: Redilation | None = self.__dict__.get(_STATE)
        # PEFT builds a LoRA's convolutions with the class of the one it wraps: those start with no state.
        if state is None or is_neutral(state.factor):
            return super()._conv_forward(input, weight, bias)
        factor = state.factor
        padding = _numeric_padding(self)
        if state.enlarged is not None:
            scales, large, small = state.enlarged.scales, state.enlarged.size, weight.shape[2:]
            # Anew in each call, some hundredths of the convolution's own work: a kept kernel would outlive changes
            # that leave no mark (`weight.data += …`, as merging a LoRA does) and take memory between calls.
            weight = disperse(weight, state.enlarged.matrix, large)
            # The grown kernel needs the padding that keeps its centre where the small one's was.
            padding = (
                padding[0] + (large[0] - small[0]) * self.dilation[0] // 2,
                padding[1] + (large[1] - small[1]) * self.dilation[1] // 2,
            )
            factor = (factor[0] / scales[0], factor[1] / scales[1])
        if state.low_pass:
            # A stride asks for the slow waves alone already, as far as it goes.
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
    """Make `conv` re-dilatable, in place, neutral at first; `restore` undoes it."""
    if type(conv) is nn.Conv2d:
        conv.__class__ = RedilatedConv2d
    elif not isinstance(conv, RedilatedConv2d):
        # A library's own Conv2d keeps its methods; only `_conv_forward` is ours.
        conv.__class__ = _subclass(type(conv))
    conv.__dict__[_STATE] = Redilation(dispersion=dispersion, fractional=fractional, low_pass=low_pass)


@cache
def _subclass(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    # One for each class: a new one at every exchange would be a new graph for torch.compile.
    return type(f"Redilated{kind.__name__}", (RedilatedConv2d, kind), {})


def restore(conv: nn.Conv2d) -> None:
    """Give `conv` its own class back and leave no trace; does nothing to one that was never exchanged."""
    conv.__dict__.pop(_STATE, None)
    if isinstance(conv, RedilatedConv2d):
        original = type(conv).__bases__[-1]
        conv.__class__ = original


def set_factor(conv: nn.Conv2d, factor: Dilation) -> None:
    """Set the dilation of an exchanged convolution for its next calls."""
    state: Redilation = conv.__dict__[_STATE]
    state.factor = factor
    state.enlarged = None
    if state.dispersion is not None and (scales := state.dispersion.scales(factor)) != (1, 1):
        state.enlarged = _enlarge(_pair(conv.kernel_size), scales, state.dispersion)


@lru_cache(maxsize=32)
def _enlarge(small: Pair, scales: Pair, dispersion: Dispersion) -> _Enlarged:
    large = (scales[0] * (small[0] - 1) + 1, scales[1] * (small[1] - 1) + 1)
    matrix = dispersion_matrix(small, large, scales, dispersion.input_size, dispersion.eta)
    with torch.inference_mode(False):  # kept for later calls, which may want gradients, and for every device
        return _Enlarged(scales, large, torch.tensor(matrix, device="cpu"))


def _numeric_padding(conv: nn.Conv2d) -> Pair:
    """`padding` as numbers: torch allows the words "same" and "valid"."""
    if isinstance(conv.padding, str):
        if conv.padding == "valid":
            return (0, 0)
        height, width = (
            axis * (size - 1) // 2 for axis, size in zip(conv.dilation, conv.kernel_size, strict=True)
        )
        return height, width
    return _pair(conv.padding)


def _pair(sizes: tuple[int, ...]) -> Pair:
    """A Conv2d's attribute as the two numbers that it holds."""
    height, width = sizes
    return height, width
