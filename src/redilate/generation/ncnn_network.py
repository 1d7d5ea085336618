"""A network in ncnn's two files, `.param` (layers) and `.bin` (weights), as a torch module.

ncnn itself runs on a CPU or by Vulkan only. For the formats see
github.com/Tencent/ncnn/wiki/param-and-model-file-structure; the layers are those of Real-ESRGAN's networks.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import RedilateError

# The first number of a convolution's float16 weights; of float32 ones it is 0.
_HALF = 0x01306B47
_LEAKY = "2"
# The options' numbers in a .param's line.
_CHANNELS, _KERNEL, _PADDING, _COUNT, _ACTIVATION = "0", "1", "4", "6", "9"
_SLOPES, _WEIGHTS = "-23310", "-23301"
_RESIZED = {"1": "nearest", "2": "bilinear", "3": "bicubic"}


class _Layer(nn.Module):
    """One line of a .param: its kind, inputs and outputs, options and weights."""

    def __init__(self, line: str, weights: BinaryIO):
        super().__init__()
        self.kind, _, taken, given, *rest = line.split()
        ends = int(taken), int(taken) + int(given)
        self.takes, self.gives = rest[: ends[0]], rest[ends[0] : ends[1]]
        self.options = dict(option.split("=", 1) for option in rest[ends[1] :])
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", None)
        self.register_buffer("bias", None)
        if self.kind == "Convolution":
            half = np.fromfile(weights, "<u4", 1)[0] == _HALF
            channels, kernel = int(self.options[_CHANNELS]), int(self.options[_KERNEL])
            flat = _read(weights, int(self.options[_COUNT]), "<f2" if half else "<f4")
            self.weight = flat.reshape(channels, -1, kernel, kernel)
            self.bias = _read(weights, channels, "<f4")
        elif self.kind == "PReLU":
            self.weight = _read(weights, int(self.options[_CHANNELS]), "<f4")

    def forward(self, *blobs: Tensor) -> Tensor:
        first, options = blobs[0], self.options
        match self.kind:
            case "Split":
                return first
            case "Convolution":
                out = F.conv2d(first, self.weight, self.bias, padding=int(options.get(_PADDING, 0)))
                if options.get(_ACTIVATION) == _LEAKY:
                    out = F.leaky_relu(out, float(options[_SLOPES].split(",")[1]))
                return out
            case "PReLU":
                return F.prelu(first, self.weight)
            case "Concat":
                return torch.cat(blobs, 1)
            case "Eltwise":
                one, other = (float(each) for each in options[_WEIGHTS].split(",")[1:])
                return one * first + other * blobs[1]
            case "BinaryOp":
                return first + blobs[1]
            case "PixelShuffle":
                return F.pixel_shuffle(first, int(options["0"]))
            case "Interp":
                return F.interpolate(first, scale_factor=float(options["1"]), mode=_RESIZED[options["0"]])
        raise RedilateError(f"a layer of ncnn's kind {self.kind} is none of Real-ESRGAN's")


class NcnnNetwork(nn.Module):
    """The network in `param` and the `.bin` beside it: (1, C, H, W) to the same, larger; from "data" to "output"."""

    def __init__(self, param: Path):
        super().__init__()
        with param.with_suffix(".bin").open("rb") as weights:
            lines = param.read_text().splitlines()[2:]  # after a magic number and the counts
            self.layers = [_Layer(line, weights) for line in lines]
        self._known = nn.ModuleList(self.layers)  # so that they move with it

    def forward(self, picture: Tensor) -> Tensor:
        blobs = {"data": picture}
        # A blob is freed after the last layer that takes it: those of 23 blocks would not fit a small GPU.
        left = Counter(name for layer in self.layers for name in layer.takes)
        for layer in self.layers:
            if layer.kind == "Input":
                continue
            taken = [blobs[name] for name in layer.takes]
            left.subtract(layer.takes)
            for name in layer.takes:
                if left[name] == 0:
                    del blobs[name]
            made = layer(*taken)
            for name in layer.gives:
                blobs[name] = made
        return blobs["output"]


def _read(weights: BinaryIO, count: int, kind: str) -> Tensor:
    """The next `count` numbers, in float32; each array ends on a multiple of four bytes."""
    values = np.fromfile(weights, kind, count).astype(np.float32)
    weights.seek(-weights.tell() % 4, 1)
    return torch.from_numpy(values)
