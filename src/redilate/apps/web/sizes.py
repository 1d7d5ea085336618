"""The sizes on the page: multiples of the native area in the usual shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from redilate.errors import RedilateError

# Name → width to height.
SHAPES = {"1:1": (1, 1), "3:2": (3, 2), "16:9": (16, 9), "2:3": (2, 3), "9:16": (9, 16)}
# Name → how many times the native side.
SCALES = {"native": 1, "2×": 2, "4×": 4}
# The largest area, in native ones: twice the largest that is offered.
MOST_AREA = 32


@dataclass(frozen=True)
class Sizes:
    """A model's sizes.

    Attributes:
        native: (width, height) in pixels.
        step: pixels per latent, of which every side is a multiple.
        even: sides of offered sizes are multiples of it, so that no level rounds.
    """

    native: tuple[int, int]
    step: int
    even: int

    @classmethod
    def of(cls, pipe: Any) -> Sizes:
        """A pipeline's sizes; RedilateError if it has no U-Net, or its native size is unknown."""
        from redilate.pipelines.families import latent_scale, native_size, unet_of

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
