"""What a convolution's kernel takes inside itself, beside the tensors that it is given and makes.

A kernel reads and writes features in an order of its own, channels in blocks. Features in torch's standard order
(NCHW) are copied into it and back out of it, and the weights are copied too; features that are channels last are
taken as they are. On a picture of thousands of pixels that is as much again as the convolution's input and output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# oneDNN's blocks of channels where the processor has AVX-512; half as many where it has AVX2.
_BLOCK = 16


def convolution_peak(features: Tensor, weight: Tensor, out: Tensor, device: str) -> int:
    """Bytes that a convolution holds at its peak beside `features` and `weight`, its output included.

    On a CPU (oneDNN, found by measurement: `benchmarks/workspace.py`) the output is made after the kernel's work: what
    is alive is first the copies of features, weights and output, then the copy of the output and the output. On a GPU
    (cuDNN; its kernels for tensor cores work channels last and copy NCHW features on the way in and out) the output is
    there from the start. Other devices are taken to need no copies, which nobody has measured.

    Args:
        features: (B, C, H, W), any device.
        weight: (C', C, h, w).
        out: (B, C', H', W').
        device: "cpu", "cuda" or another of torch's device types: where it will be computed.
    """
    made = out.nbytes
    if device not in ("cpu", "cuda"):
        return made
    if is_channels_last(features) or is_channels_last(weight):
        return made + weight.nbytes
    if device == "cpu" and weight.dtype is torch.float32 and weight.shape[2:] == (1, 1):
        return made + weight.nbytes  # done as a product of matrices, in the standard order
    if device == "cuda":
        return features.nbytes + weight.nbytes + 2 * made
    inside = _in_blocks(out)
    return max(_in_blocks(features) + weight.nbytes + inside, inside + made)


def is_channels_last(tensor: Tensor) -> bool:
    """Whether features or weights, (·, C, ·, ·), lie channels last and in no other order too."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _in_blocks(features: Tensor) -> int:
    channels = math.ceil(features.shape[1] / _BLOCK) * _BLOCK
    return features.nbytes // features.shape[1] * channels
