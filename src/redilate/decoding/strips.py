"""A picture's activations as strips of rows, (1, C, rows, W) each, from the top down.

A layer is a generator from strips to strips. `StoredStrips` holds a whole activation for a normalisation, which needs
its statistics first, and frees each strip when it is read for the last time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class ChannelStatistics:
    """Mean and variance of each channel over all strips so far.

    Each strip's are computed about its own mean, in float32 at least, and merged in float64 (Chan, Golub and LeVeque
    1979), without a difference of large squares.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.squares = torch.zeros(())  # Σ (x − mean)²

    def add(self, strip: Tensor) -> None:
        """Take a strip, (1, C, rows, W), into account."""
        strip = at_least_float32(strip)
        count = strip.shape[2] * strip.shape[3]
        mean = strip.mean((0, 2, 3), keepdim=True)
        centred = strip - mean
        squares = (centred * centred).sum((0, 2, 3))
        wide = torch.float32 if strip.device.type == "mps" else torch.float64  # Metal has no float64
        mean, squares = mean.flatten().to(wide), squares.to(wide)
        if self.count == 0:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total = self.count + count
        apart = mean - self.mean
        self.mean = self.mean + apart * (count / total)
        self.squares = self.squares + squares + apart * apart * (self.count * (count / total))
        self.count = total

    def grouped(self, groups: int) -> tuple[Tensor, Tensor]:
        """(mean, variance) of each group of channels, (groups,) each; the variance is biased, as GroupNorm's."""
        means = self.mean.reshape(groups, -1)
        mean = means.mean(1)
        squares = self.squares.reshape(groups, -1).sum(1)
        between = (means - mean[:, None]).square().sum(1) * self.count
        return mean, (squares + between) / (self.count * means.shape[1])


class StoredStrips:
    """The strips of one whole activation, with its statistics.

    Args:
        strips: to store; read to the end at once.
        device: to store on; None: the strips' own. They are returned on their own.
    """

    def __init__(self, strips: Iterable[Tensor] = (), device: torch.device | None = None):
        self.statistics = ChannelStatistics()
        self._device = device
        self._home: torch.device | None = None
        self._strips: deque[Tensor] = deque()
        for strip in strips:
            self.statistics.add(strip)
            self.append(strip)

    def append(self, strip: Tensor) -> None:
        """Store one more strip, below the others."""
        self._home = strip.device
        self._strips.append(strip if self._device is None else _to(strip, self._device))

    def popleft(self) -> Tensor:
        """The topmost strip, which is no longer stored."""
        return self._back(self._strips.popleft())

    def read(self) -> Iterator[Tensor]:
        """All strips, which stay."""
        return map(self._back, self._strips)

    def drain(self) -> Iterator[Tensor]:
        """All strips; each is freed after use."""
        while self._strips:
            yield self.popleft()

    def _back(self, strip: Tensor) -> Tensor:
        # From pinned memory without waiting: the device runs the copy before its later work.
        return strip if self._device is None else strip.to(self._home, non_blocking=strip.is_pinned())


def _to(strip: Tensor, device: torch.device) -> Tensor:
    """The strip on `device`; from a GPU to the host by an asynchronous copy to pinned memory.

    That is safe, since only later work of the GPU reuses the strip's memory or reads the copy.
    """
    if strip.device.type != "cuda" or device.type != "cpu":
        return strip.to(device)
    try:
        pinned = torch.empty_like(strip, device=device, pin_memory=True)
    except RuntimeError:  # the host can pin no more memory
        return strip.to(device)
    return pinned.copy_(strip, non_blocking=True)


def at_least_float32(tensor: Tensor) -> Tensor:
    """`tensor`, or its float32 copy if it is of half precision."""
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def recut(strips: Iterable[Tensor], rows: int) -> Iterator[Tensor]:
    """The same rows in strips of `rows`; the last may have fewer."""
    held: list[Tensor] = []
    count = 0
    for strip in strips:
        start = 0
        while start < strip.shape[2]:
            piece = strip[:, :, start : start + rows - count]
            held.append(piece)
            count, start = count + piece.shape[2], start + piece.shape[2]
            if count == rows:
                yield held[0] if len(held) == 1 else torch.cat(held, 2)
                held, count = [], 0
    if held:
        yield held[0] if len(held) == 1 else torch.cat(held, 2)


def with_neighbours(strips: Iterable[Tensor]) -> Iterator[Tensor]:
    """Each strip with the row above and the row below, (1, C, 1 + rows + 1, W); zeros beyond the picture.

    One strip behind its input, since the row below is in the next strip.
    """
    above: Tensor | None = None
    current: Tensor | None = None
    for following in strips:
        if current is not None:
            above = torch.zeros_like(current[:, :, :1]) if above is None else above
            yield torch.cat([above, current, following[:, :, :1]], 2)
            above = current[:, :, -1:].clone()  # a view would keep the whole strip
        current = following
    if current is not None:
        edge = torch.zeros_like(current[:, :, :1])
        yield torch.cat([edge if above is None else above, current, edge], 2)
