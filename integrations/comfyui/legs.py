"""Through which sizes, from which noise levels and in how many steps a picture is drawn: as in Python's `generate`."""

from __future__ import annotations

from dataclasses import dataclass

from redilate.errors import RedilateError
from redilate.plans.defaults import DEFAULTS, Family, leg_sizes, leg_steps, native_start, strengths

from .native import PIXELS_PER_LATENT

Size = tuple[int, int]


@dataclass(frozen=True)
class Leg:
    """One denoising at one size.

    Attributes:
        width, height: in pixels.
        start: the noise level in (0, 1] that it starts at; 1: pure noise.
        steps: denoising steps.
    """

    width: int
    height: int
    start: float
    steps: int

    @property
    def from_noise(self) -> bool:
        """Whether it starts from nothing but noise, so that no picture comes before it."""
        return self.start >= 1

    def __str__(self) -> str:
        return f"{self.width}x{self.height}: {self.steps} steps from noise level {self.start:.2f}"


def target_size(start: Size, width: int, height: int, scale: float) -> Size:
    """(height, width) in pixels: as asked for; a side of 0 follows from the other or, with both 0, from `scale`.

    Raises:
        RedilateError: for sides that latents cannot have.
    """
    for name, side in (("width", width), ("height", height)):
        if side < 0 or side % PIXELS_PER_LATENT:
            raise RedilateError(
                f"{name} is {side}; a multiple of {PIXELS_PER_LATENT} works, or 0: from the scale"
            )
    if not width and not height:
        return _whole(start[0] * scale), _whole(start[1] * scale)
    return height or _whole(start[0] * width / start[1]), width or _whole(start[1] * height / start[0])


def legs_for(
    family: Family,
    native: int,
    *,
    target: Size,
    start: Size | None,
    strength: float,
    steps: int,
    largest_scale: float,
    unit: int,
) -> list[Leg]:
    """The legs that lead to `target`, from the smallest.

    Args:
        family: whose defaults hold.
        native: the native side in pixels.
        target: (height, width) in pixels.
        start: that of the picture to enlarge; None: it is drawn from noise, natively first if it is large.
        strength: the noise level in (0, 1] that the first large leg starts at; 1: everything at full size.
        steps: of a whole denoising; a large leg takes its share.
        largest_scale: how many times larger a leg is than the one before at most.
        unit: in pixels; sides between the first and the last are multiples of it.

    Raises:
        RedilateError: if there is nothing to enlarge.
    """
    square = (native, native)
    legs = []
    if start is None:
        start = native_start(target, square, unit)
        if strength >= 1 or start is None:
            return [Leg(target[1], target[0], 1.0, steps)]
        legs = [Leg(start[1], start[0], 1.0, steps)]
    sizes = leg_sizes(start, target, square, largest_scale, unit)
    if not sizes:
        raise RedilateError(
            f"the picture is {start[1]}x{start[0]} and {target[1]}x{target[0]} was asked for; a larger size works"
        )
    levels = strengths(strength, len(sizes), family)
    for (height, width), level in zip(sizes, levels, strict=True):
        legs.append(Leg(width, height, level, leg_steps(steps, level, DEFAULTS[family])))
    return legs


def _whole(side: float) -> int:
    return max(PIXELS_PER_LATENT, round(side / PIXELS_PER_LATENT) * PIXELS_PER_LATENT)
