"""Estimates of a picture's time from earlier pictures on this machine."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

# Bounds of a step's growth with the area: convolutions are linear, attention is quadratic.
_LINEAR, _QUADRATIC = 1.0, 2.0


class Speed:
    """Seconds for each denoising step by area, one curve for each kind of drawing.

    A curve is seconds = a · area^b with 1 ≤ b ≤ 2, fitted to the logarithms of the measurements; b is 1 for one size.
    The steps' time includes the autoencoder's and the text encoder's.
    """

    def __init__(self) -> None:
        self._measured: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._first: tuple[int, float] | None = None
        self.pictures = 0

    def measure(self, pipe: Any) -> None:
        """Draw two steps at native size and measure the second, since the first is slower."""
        import redilate
        from redilate.pipelines.families import native_size

        height, width = native_size(pipe)
        times: list[float] = []
        redilate.generate(
            pipe, "", steps=2, method="direct", on_step=lambda *_: times.append(time.monotonic())
        )
        # Some pipelines report no steps.
        if len(times) == 2:
            self._first = (width * height, times[1] - times[0])

    def add(self, kind: str, area: int, steps: int, seconds: float) -> None:
        """Add a picture's time for `steps` (at least 1) denoising steps."""
        self.pictures += 1
        self._measured[kind].append((area, seconds / steps))

    def seconds(self, kind: str, area: int, steps: int) -> float | None:
        """The estimate for a picture of `area` pixels; None without measurements."""
        known = self._measured.get(kind) or [one for points in self._measured.values() for one in points]
        points = known or ([self._first] if self._first else [])
        if not points:
            return None
        areas = [math.log(each) for each, _ in points]
        costs = [math.log(max(cost, 1e-6)) for _, cost in points]
        middle, level = sum(areas) / len(areas), sum(costs) / len(costs)
        spread = sum((each - middle) ** 2 for each in areas)
        slope = _LINEAR
        if spread > 0:
            slope = sum((a - middle) * (c - level) for a, c in zip(areas, costs, strict=True)) / spread
            slope = min(max(slope, _LINEAR), _QUADRATIC)
        return steps * math.exp(level + slope * (math.log(area) - middle))

    @property
    def source(self) -> str:
        """What the estimate is based on."""
        if self.pictures:
            return "from the picture drawn here" if self.pictures == 1 else "from the pictures drawn here"
        return "from two steps at native size" if self._first else ""
