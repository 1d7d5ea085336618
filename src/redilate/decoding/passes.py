"""Running an autoencoder's steps over strips, in little memory.

A GroupNorm needs the whole picture's statistics before its first output, so a residual block reads its input up to
three times. Each pass takes strip after strip through all layers up to the next GroupNorm:

    input x ──┬─ pass 1: upsample? ──────────────────────────────────────► statistics of norm1
              ├─ pass 2: upsample? → norm1 → conv1 ──────────────────────► statistics of norm2
              └─ pass 3: upsample? → norm1 → conv1 → norm2 → conv2 → + ──► output
                              └─────────── shortcut ─────────────────┘

What fits in `budget` bytes is stored and not computed again: pass 3 then starts from the stored upsampled x, or from
the stored conv1. The budget is the largest output of any step, which must be stored anyhow; in SDXL's decoder that is
half of its largest activation and a sixth of the untiled decode's peak.
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
from .strips import ChannelStatistics, StoredStrips, recut

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Limits:
    """Limits of memory.

    Attributes:
        strip: bytes of a pass's widest strip.
        storage: the device that stores activations; None: the computing device.
    """

    strip: int
    storage: torch.device | None = None


def run(
    steps: list[Step], last: tuple[nn.GroupNorm, nn.Conv2d], start: Tensor, limits: Limits, tick: Tick
) -> Iterator[Tensor]:
    """Run all steps on `start`, (1, C, H, W), then the last normalisation, SiLU and convolution; yields output strips.

    `tick` is called with the multiply-accumulates of each finished strip of a convolution.
    """
    passes = _Passes(limits, largest_output_bytes(steps, start), tick)
    height, width = start.shape[2:]
    kept = StoredStrips([start], limits.storage)
    del start
    for step in steps:
        if isinstance(step, Attention):
            kept = StoredStrips(attend(kept, step.block, width, height * width, step.pool), limits.storage)
        elif isinstance(step, Resnet):
            kept = passes.resnet(kept, step, height, width)
        else:
            kept = passes.convolution(kept, step, width)
        height, width = size_after([step], (height, width))
    norm, conv = last
    rows = passes.rows(norm.num_channels, width, next(kept.read()))
    normalised = Normalised(norm, kept.statistics, nn.SiLU())
    yield from passes.convolved(normalised(recut(kept.drain(), rows)), conv)


def largest_output_bytes(steps: list[Step], start: Tensor) -> int:
    """Bytes of the largest output of a step, which must be stored."""
    largest = 0
    size = (start.shape[2], start.shape[3])
    for step in steps:
        size = size_after([step], size)
        if not isinstance(step, Attention):  # as large as what it takes
            conv = step.block.conv2 if isinstance(step, Resnet) else step.conv
            largest = max(largest, conv.out_channels * size[0] * size[1] * start.element_size())
    return largest


class _Passes:
    def __init__(self, limits: Limits, budget: int, tick: Tick):
        self._limits = limits
        self._budget = budget
        self._tick = tick

    def rows(self, channels: int, width: int, like: Tensor) -> int:
        """How many rows a strip has: an even number, for downsamplers."""
        return max(2, self._limits.strip // (channels * width * like.element_size()) // 2 * 2)

    def counted(self, strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        """`strips`, the output of `conv`, with a tick for each."""
        for strip in strips:
            self._tick(conv.weight[0].numel() * strip.numel())
            yield strip

    def convolved(self, strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        return self.counted(convolve(strips, conv), conv)

    def upsampled(self, strips: Iterable[Tensor], conv: nn.Conv2d) -> Iterator[Tensor]:
        return self.counted(upsample(strips, conv), conv)

    def convolution(self, kept: StoredStrips, step: Convolution, width: int) -> StoredStrips:
        like = next(kept.read())
        widest = max(step.conv.in_channels, step.conv.out_channels * step.scale**2)
        strips = recut(kept.drain(), self.rows(int(widest), width, like))
        if step.scale == 2.0:
            return StoredStrips(self.upsampled(strips, step.conv), self._limits.storage)
        if step.scale == 0.5:
            return StoredStrips(self.counted(downsample(strips, step.conv), step.conv), self._limits.storage)
        return StoredStrips(self.convolved(strips, step.conv), self._limits.storage)

    def resnet(self, kept: StoredStrips, step: Resnet, height: int, width: int) -> StoredStrips:
        """x + conv2(norm2(conv1(norm1(x)))), with an activation after each norm; x is `kept`, which is emptied."""
        block, storage, up = step.block, self._limits.storage, step.up
        like = next(kept.read())
        rows = self.rows(max(block.conv1.in_channels, block.conv1.out_channels), width, like)
        channel = like.element_size() * width * height  # bytes
        statistics = kept.statistics
        if up is not None:
            channel, rows = 4 * channel, max(1, rows // 4)
            if up.out_channels * channel <= self._budget:
                kept = StoredStrips(self.upsampled(recut(kept.drain(), rows), up), storage)
                statistics, up, rows = kept.statistics, None, 2 * rows
            else:
                statistics = _statistics_of(self.upsampled(recut(kept.read(), rows), up))
        norm1 = Normalised(block.norm1, statistics, block.nonlinearity)

        def read(strips: Iterable[Tensor]) -> Iterator[Tensor]:
            strips = recut(strips, rows)
            return strips if up is None else self.upsampled(strips, up)

        def conv1(strips: Iterable[Tensor]) -> Iterator[Tensor]:
            return self.convolved(norm1(strips), block.conv1)

        # The shortcut's strips wait for the main path's, which come some strips later, or a whole pass later.
        stores_conv1 = (block.conv1.out_channels + block.conv2.out_channels) * channel <= self._budget
        shortcut: Any = StoredStrips(device=storage) if stores_conv1 else deque()

        def with_shortcut(strips: Iterable[Tensor]) -> Iterator[Tensor]:
            for strip in strips:
                conv = block.conv_shortcut
                shortcut.append(strip if conv is None else next(self.counted(pointwise([strip], conv), conv)))
                yield strip

        if stores_conv1:
            stored = StoredStrips(conv1(with_shortcut(read(kept.drain()))), storage)
            statistics, middle = stored.statistics, stored.drain()
        else:
            statistics = _statistics_of(conv1(read(kept.read())))
            middle = conv1(with_shortcut(read(kept.drain())))
        norm2 = Normalised(block.norm2, statistics, block.nonlinearity)
        out = self.convolved(norm2(middle), block.conv2)
        return StoredStrips(
            ((shortcut.popleft() + strip) / block.output_scale_factor for strip in out), storage
        )


def _statistics_of(strips: Iterable[Tensor]) -> ChannelStatistics:
    statistics = ChannelStatistics()
    for strip in strips:
        statistics.add(strip)
    return statistics
