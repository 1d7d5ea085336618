"""What a convolution's kernel takes inside itself, beside the tensors that it is given and makes.

A kernel reads and writes features in an order of its own, channels in blocks. Features in torch's standard order
(NCHW) are copied into it and back out of it, and the weights are copied too; features that are channels last are
taken as they are. On a picture of thousands of pixels that is as much again as the convolution's input and output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# oneDNN's blocks of channels where the processor has AVX-512; half as many where it has AVX2.
_BLOCK = 16


@dataclass(frozen=True)
class Copies:
    """Bytes of each copy that a convolution makes.

    Attributes:
        before: freed before the output is there.
        beside: held beside the output.
    """

    before: tuple[int, ...] = ()
    beside: tuple[int, ...] = ()

    def peak(self, out: int) -> int:
        """Bytes that the convolution takes at its peak with an output of `out` bytes."""
        return sum(self.beside) + max(sum(self.before), out)


def convolution_copies(features: Tensor, weight: Tensor, out: Tensor, device: str) -> Copies:
    """The copies that a convolution makes of its input, weights and output.

    On a CPU (oneDNN, found by measurement: `benchmarks.workspace`) the output is made after the kernel's work, from
    the copy that the kernel wrote. On a GPU (cuDNN, whose kernels for tensor cores work channels last and copy NCHW
    features on the way in and out; not measured) it is there from the start. Other devices are taken to need none,
    which is not measured either.

    Args:
        features: (B, C, H, W), any device.
        weight: (C', C, h, w).
        out: (B, C', H', W').
        device: "cpu", "cuda" or another of torch's device types: where it will be computed.
    """
    if device not in ("cpu", "cuda"):
        return Copies()
    if is_channels_last(features) or is_channels_last(weight):
        return Copies(beside=(weight.nbytes,))
    flat = weight.shape[2:] == (1, 1)
    if device == "cpu" and flat and weight.dtype is torch.float32:
        return Copies(beside=(weight.nbytes,))  # done as a product of matrices, in the standard order
    if device == "cuda" or flat:
        return Copies(beside=(features.nbytes, weight.nbytes, out.nbytes))
    return Copies(before=(_in_blocks(features), weight.nbytes), beside=(_in_blocks(out),))


def is_channels_last(tensor: Tensor) -> bool:
    """Whether features or weights, (·, C, ·, ·), lie channels last and in no other order too."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _in_blocks(features: Tensor) -> int:
    channels = math.ceil(features.shape[1] / _BLOCK) * _BLOCK
    return features.nbytes // features.shape[1] * channels
