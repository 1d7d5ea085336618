"""A downsampling convolution that reduces its features further than it was trained to: HiDiffusion's RAD.

From Conv(stride 2, dilation 1, padding 1) to Conv(stride 2α, dilation α, padding α) (arXiv 2311.17528, section 3.2):
its nine taps cover as much of the picture as in training, and the output has the size of training.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..core.conv import Pair

_STATE = "_reduction"


class ReducingConv2d(nn.Conv2d):
    """A Conv2d that reads its reduction (height, width) from `_reduction`; at (1, 1) it runs the original's code.

    As in `core.conv`, the class is exchanged and no attribute: hooks, LoRA and offloading go on working.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        reduction: Pair = self.__dict__.get(_STATE, (1, 1))
        if reduction == (1, 1):
            return super()._conv_forward(input, weight, bias)
        assert not isinstance(self.padding, str)
        stride, padding, dilation = (
            (values[0] * reduction[0], values[1] * reduction[1])
            for values in (self.stride, self.padding, self.dilation)
        )
        return F.conv2d(input, weight, bias, stride, padding, dilation, self.groups)


def exchange(conv: nn.Conv2d) -> None:
    """Make `conv` able to reduce further, in place; `restore` undoes it."""
    if type(conv) is nn.Conv2d:
        conv.__class__ = ReducingConv2d
    else:
        conv.__class__ = type(f"Reducing{type(conv).__name__}", (ReducingConv2d, type(conv)), {})


def restore(conv: nn.Conv2d) -> None:
    """Give an exchanged convolution its own class back."""
    conv.__dict__.pop(_STATE, None)
    conv.__class__ = type(conv).__bases__[-1]


def set_reduction(conv: nn.Conv2d, reduction: Pair) -> None:
    """How many times further an exchanged convolution's next calls reduce (height, width)."""
    conv.__dict__[_STATE] = reduction
