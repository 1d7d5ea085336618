"""Through which sizes a drawing goes. All sizes are (height, width) in pixels."""

from __future__ import annotations

import math

from ..pipelines.families import Size
from ..plans.defaults import LEGS_FROM

# Of a wrong ratio and a wrong area, the ratio is the worse: it shows as a stretched picture.
_RATIO_WEIGHT = 4.0
_FURTHEST = 0.5  # of the native area, by which the native picture may be smaller or larger


def native_start(target: Size, native: Size, unit: int) -> Size | None:
    """The size of the native picture that a drawing of `target` starts with; None where one leg draws it at once.

    Args:
        target, native, unit: as for `native_shape`.
    """
    start = native_shape(target, native, unit)
    near = target[0] * target[1] < LEGS_FROM * native[0] * native[1]
    return None if near or (target[0] <= start[0] and target[1] <= start[1]) else start


def native_shape(target: Size, native: Size, unit: int) -> Size:
    """The size of the native picture for a `target`: about the target's ratio at about the native area.

    Args:
        target, native: the sizes asked for and trained at.
        unit: both sides are multiples of it.

    Returns:
        Among the multiples, the one with the least weighted error of ratio and area.
    """
    ratio, area = target[0] / target[1], native[0] * native[1]

    def error(size: Size) -> float:
        off_ratio = abs(math.log(size[0] / size[1] / ratio))
        return _RATIO_WEIGHT * off_ratio + abs(math.log(size[0] * size[1] / area))

    candidates = []
    for height in range(unit, math.ceil(math.sqrt(area * ratio) * 2 / unit) * unit + 1, unit):
        for width in {math.floor(height / ratio / unit) * unit, math.ceil(height / ratio / unit) * unit}:
            if width and abs(math.log(height * width / area)) <= _FURTHEST:
                candidates.append((height, width))
    # An extreme ratio may have no multiple near the area: then the narrow side is one unit or more, and as it comes.
    return min(candidates, key=error) if candidates else _nearest(math.sqrt(area * ratio), ratio, unit)


def _nearest(height: float, ratio: float, unit: int) -> Size:
    return max(unit, round(height / unit) * unit), max(unit, round(height / ratio / unit) * unit)


def leg_sizes(start: Size, target: Size, native: Size, largest_scale: float, unit: int) -> list[Size]:
    """The sizes of the large legs that lead from `start` to `target`, each at most `largest_scale` per side.

    In equal ratios; all but the last, which is the target, have sides that are multiples of `unit`. A start below the
    `native` area is taken beyond it at once: no network is at its best below. Empty where the target is no larger than
    the start.
    """
    scale = max(target[0] / start[0], target[1] / start[1])
    if scale <= 1:
        return []
    count = max(1, math.ceil(math.log(scale) / math.log(largest_scale) - 1e-6))
    between = []
    for index in range(1, count):
        share = index / count
        sides = (first * (last / first) ** share for first, last in zip(start, target, strict=True))
        height, width = (max(unit, round(side / unit) * unit) for side in sides)
        if height * width >= native[0] * native[1]:
            between.append((height, width))
    return [*between, target]
