"""Where a C library puts blocks of memory, and so how much a process holds that no tensor uses any more.

On a CPU torch takes every tensor from the C library's heap. glibc maps large blocks each by itself and gives them back
at once. Smaller ones lie in one heap side by side: a freed one stays resident, serves a later one that fits in it, and
goes back only from the heap's end. On a picture of which most tensors are small that is half as much again.
"""

from __future__ import annotations

from bisect import insort

# glibc's limits once they have grown to what they may (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, 64 bit).
MAPPED_FROM = 32 * 2**20
_TRIMMED_FROM = 2 * MAPPED_FROM
# An aligned block is cut out of one that is longer by the alignment, 64, and the least block: a hole of just its size
# does not serve it (glibc 2.36, with which this was measured).
_ALIGNING = 96


class Heap:
    """A model of it: best fit, neighbouring free blocks joined, the free end given back where it is long.

    Attributes:
        resident: bytes that the process holds now.
    """

    def __init__(self, mapped_from: int = MAPPED_FROM) -> None:
        self._mapped_from = mapped_from
        self._mapped = self._top = self._touched = 0
        self._free: list[tuple[int, int]] = []  # (start, size), by start; none touches another or the top

    @property
    def resident(self) -> int:
        return self._mapped + self._touched

    def take(self, size: int) -> int:
        """Room for `size` bytes: where it starts, or −1 for a block of its own."""
        if size >= self._mapped_from:
            self._mapped += size
            return -1
        fitting = [(length, start) for start, length in self._free if length >= size + _ALIGNING]
        if not fitting:
            start, self._top = self._top, self._top + size
            self._touched = max(self._touched, self._top)
            return start
        length, start = min(fitting)
        self._free.remove((start, length))
        if length > size:
            insort(self._free, (start + size, length - size))
        return start

    def give(self, start: int, size: int) -> None:
        """Free what `take` gave for `size` bytes."""
        if start < 0:
            self._mapped -= size
            return
        end = start + size
        for block in [block for block in self._free if block[0] == end or sum(block) == start]:
            self._free.remove(block)
            start, end = min(start, block[0]), max(end, sum(block))
        if end < self._top:
            insort(self._free, (start, end - start))
            return
        self._top = start
        if self._touched - self._top > _TRIMMED_FROM:
            self._touched = self._top
