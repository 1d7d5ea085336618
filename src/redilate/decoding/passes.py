"""Running an autoencoder's steps over strips, in little memory.

Each GroupNorm needs the whole picture's statistics before its first output, so a residual block takes up to three
passes over its input. What stands before a normalisation is kept where there is room for it and computed again where
there is none. The room is what the largest residual block's output takes, which must be kept anyhow; in SDXL's decoder
that is half of its largest activation and a sixth of what the untiled decode holds at its peak. Passes are as wide as
they can be made: each strip goes through all layers between two normalisations before the next is begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .attention import attend
from .layers import Normalised, convolve, downsample, pointwise, upsample
from .steps import Attention, Convolution, Resnet, Step, size_after
from .strips import Kept, Moments, recut

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Limits:
    """How much is held at a time.

    Attributes:
        strip: bytes of the widest strip that a pass makes.
        room: bytes of activations to keep rather than to compute again; None: as few as can be.
        storage: where kept activations wait, None: on the device that computes.
    """

    strip: int
    room: int | None = None
    storage: torch.device | None = None


def run(
    steps: list[Step], last: tuple[nn.GroupNorm, nn.Conv2d], start: Tensor, limits: Limits, tick: Tick
) -> Iterator[Tensor]:
    """Run all steps on `start`, (1, C, H, W), and the last normalisation and convolution; yields the output's strips.

    Args:
        steps: as `steps.decoder_steps` has them.
        last: the normalisation and the convolution after them, with SiLU between.
        start: the input; it may be whole, as it has few channels.
        limits: how much is held.
        tick: called with the multiply-accumulates of each strip of a convolution that is done.
    """
    room = least_room(steps, start)
    passes = _Passes(limits, max(room, limits.room or 0), tick)
    height, width = start.shape[2:]
    kept = Kept([start], limits.storage)
    del start
    for step in steps:
        if isinstance(step, Attention):
            kept = Kept(attend(kept, step.block, width, height * width, step.pool), limits.storage)
        elif isinstance(step, Resnet):
            kept = passes.resnet(kept, step, height, width)
        else:
            kept = passes.convolution(kept, step, width)
        height, width = size_after([step], (height, width))
    norm, conv = last
    rows = passes.rows(norm.num_channels, width, next(kept.read()))
    normalised = Normalised(norm, kept.moments, nn.SiLU())
    yield from passes.convolved(normalised(recut(kept.drain(), rows)), conv)


def least_room(steps: list[Step], start: Tensor) -> int:
    """Bytes of the largest activation that no pass can do without: the output of some step."""
    largest = 0
    size = (start.shape[2], start.shape[3])
    for step in steps:
        size = size_after([step], size)
        if not isinstance(step, Attention):  # as large as what it takes
            conv = step.block.conv2 if isinstance(step, Resnet) else step.conv
            largest = max(largest, conv.out_channels * size[0] * size[1] * start.element_size())
    return largest


class _Passes:
    def __init__(self, limits: Limits, room: int, tick: Tick):
        self._limits = limits
        self._room = room
        self._tick = tick

    def rows(self, channels: int, width: int, like: Tensor) -> int:
        """How many rows make a strip: an even number, so that a downsampler can cut between any two."""
        return max(2, self._limits.strip // (channels * width * like.element_size()) // 2 * 2)

    def counted(self, strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        """Tick for each strip that `conv` makes."""
        for strip in strips:
            self._tick(conv.weight[0].numel() * strip.numel())
            yield strip

    def convolved(self, strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        return self.counted(convolve(strips, conv), conv)

    def upsampled(self, strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        return self.counted(upsample(strips, conv), conv)

    def convolution(self, kept: Kept, step: Convolution, width: int) -> Kept:
        like = next(kept.read())
        widest = max(step.conv.in_channels, step.conv.out_channels * step.scale**2)
        strips = recut(kept.drain(), self.rows(int(widest), width, like))
        if step.scale == 2.0:
            return Kept(self.upsampled(strips, step.conv), self._limits.storage)
        if step.scale == 0.5:
            return Kept(self.counted(downsample(strips, step.conv), step.conv), self._limits.storage)
        return Kept(self.convolved(strips, step.conv), self._limits.storage)

    def resnet(self, kept: Kept, step: Resnet, height: int, width: int) -> Kept:
        """A residual block, `kept` drained: x + conv2(norm2(conv1(norm1(x)))), each norm before an activation."""
        block, storage, up = step.block, self._limits.storage, step.up
        like = next(kept.read())
        moments = kept.moments
        rows = self.rows(max(block.conv1.in_channels, block.conv1.out_channels), width, like)
        row = like.element_size() * width * height  # bytes of one channel
        if up is not None:
            row, rows = 4 * row, max(1, rows // 4)
            if up.out_channels * row <= self._room:
                kept = Kept(self.upsampled(recut(kept.drain(), rows), up), storage)
                moments, up, rows = kept.moments, None, 2 * rows
            else:
                moments = _measure(self.upsampled(recut(kept.read(), rows), up))
        first = Normalised(block.norm1, moments, block.nonlinearity)

        def source(strips: Iterable[Tensor]) -> Iterator[Tensor]:
            strips = recut(strips, rows)
            return strips if up is None else self.upsampled(strips, up)

        # The shortcut's strips wait for those of the main path, which are strips behind, or a whole pass.
        keeps_hidden = (block.conv1.out_channels + block.conv2.out_channels) * row <= self._room
        skips: Any = Kept(device=storage) if keeps_hidden else deque()

        def noted(strips: Iterable[Tensor]) -> Iterator[Tensor]:
            for strip in strips:
                if block.conv_shortcut is None:
                    skips.append(strip)
                else:
                    skips.append(
                        next(self.counted(pointwise([strip], block.conv_shortcut), block.conv_shortcut))
                    )
                yield strip

        def hidden(strips: Iterable[Tensor]) -> Iterator[Tensor]:
            return self.convolved(first(strips), block.conv1)

        if keeps_hidden:
            whole = Kept(hidden(noted(source(kept.drain()))), storage)
            moments, middle = whole.moments, whole.drain()
        else:
            moments, middle = _measure(hidden(source(kept.read()))), hidden(noted(source(kept.drain())))
        second = Normalised(block.norm2, moments, block.nonlinearity)
        out = self.convolved(second(middle), block.conv2)
        return Kept(((skips.popleft() + strip) / block.output_scale_factor for strip in out), storage)


def _measure(strips: Iterable[Tensor]) -> Moments:
    moments = Moments()
    for strip in strips:
        moments.add(strip)
    return moments
