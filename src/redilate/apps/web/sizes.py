"""The sizes on the page, multiples of the native area in the usual shapes, and estimates of their time."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, linear_regression
from typing import Any

import redilate
from redilate.errors import RedilateError
from redilate.pipelines.families import latent_scale, native_size, unet_of

# Name → width to height.
SHAPES = {"1:1": (1, 1), "3:2": (3, 2), "16:9": (16, 9), "2:3": (2, 3), "9:16": (9, 16)}
# Name → how many times the native side.
SCALES = {"native": 1, "2×": 2, "4×": 4}
# The largest area, in native ones: twice the largest that is offered.
MOST_AREA = 32
# Bounds of a step's growth with the area: convolutions are linear, attention is quadratic.
_LINEAR, _QUADRATIC = 1.0, 2.0


@dataclass(frozen=True)
class Sizes:
    """A model's sizes, in pixels."""

    native: tuple[int, int]  # width, height
    step: int  # every side is a multiple of it: pixels per latent
    even: int  # sides of offered sizes are multiples of it, so that no level rounds

    @classmethod
    def of(cls, pipe: Any) -> Sizes:
        """A pipeline's sizes; RedilateError if it has no U-Net, or its native size is unknown."""
        height, width = native_size(pipe)
        scale = latent_scale(pipe)
        unet: Any = unet_of(pipe)
        levels = len(unet.config.block_out_channels)
        return cls((width, height), scale, scale * 2 ** (levels - 1))

    @property
    def native_area(self) -> int:
        return self.native[0] * self.native[1]

    def offered(self, scale: str, shape: str) -> tuple[int, int]:
        """(width, height) of about that area in that shape, exactly for the native shape.

        `scale` is a name in `SCALES`, `shape` one in `SHAPES`.
        """
        wide, high = SHAPES[shape]
        if wide * self.native[1] == high * self.native[0]:
            return self.native[0] * SCALES[scale], self.native[1] * SCALES[scale]
        area = self.native_area * SCALES[scale] ** 2
        width = math.sqrt(area * wide / high)
        return _nearest(width, self.even), _nearest(width * high / wide, self.even)

    def other_side(self, side: float, ratio: float) -> int:
        """A side `ratio` times as long as `side`, rounded."""
        return _nearest(side * ratio, self.step)

    def check(self, width: float | None, height: float | None) -> tuple[int, int]:
        """(width, height) as whole numbers; RedilateError unless they are multiples of `step` and small enough."""
        sides = []
        for name, side in (("width", width), ("height", height)):
            if side is None or not math.isfinite(side):
                raise RedilateError(
                    f"the {name} is missing; {self.native[name == 'height']} is the native one"
                )
            if side < self.step or side % self.step:
                near = _nearest(min(side, 2**20), self.step)
                raise RedilateError(f"the {name} {side:g} is not a multiple of {self.step}; {near} works")
            sides.append(int(side))
        if sides[0] * sides[1] > MOST_AREA * self.native_area:
            raise RedilateError(
                f"{sides[0]} × {sides[1]} is {sides[0] * sides[1] / self.native_area:.0f} times the native area; "
                f"the page draws up to {MOST_AREA} times"
            )
        return sides[0], sides[1]


def _nearest(side: float, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)


class Speed:
    """Seconds for each denoising step by area, one curve for each kind of drawing.

    A curve is seconds = a · area^b with 1 ≤ b ≤ 2, fitted to the logarithms of the measurements; b is 1 for one size.
    The steps' time includes the autoencoder's and the text encoder's.
    """

    def __init__(self) -> None:
        self._measured: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._first: tuple[int, float] | None = None

    def measure(self, pipe: Any) -> None:
        """Draw two steps at native size and measure the second, since the first is slower."""
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
        self._measured[kind].append((area, seconds / steps))

    def seconds(self, kind: str, area: int, steps: int) -> float | None:
        """The estimate for a picture of `area` pixels; None without measurements."""
        known = self._measured.get(kind) or [one for points in self._measured.values() for one in points]
        points = known or ([self._first] if self._first else [])
        if not points:
            return None
        areas = [math.log(each) for each, _ in points]
        costs = [math.log(max(cost, 1e-6)) for _, cost in points]
        slope = _LINEAR
        if len(set(areas)) > 1:
            slope = min(max(linear_regression(areas, costs).slope, _LINEAR), _QUADRATIC)
        return steps * math.exp(fmean(costs) + slope * (math.log(area) - fmean(areas)))

    @property
    def source(self) -> str:
        """What the estimate is based on."""
        if pictures := sum(map(len, self._measured.values())):
            return "from the picture drawn here" if pictures == 1 else "from the pictures drawn here"
        return "from two steps at native size" if self._first else ""
