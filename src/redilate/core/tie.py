"""How long a large leg is held to the picture before it, in numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Tie:
    """How a large leg is held to the picture before it.

    Attributes:
        weight: in [0, 1], of the low frequencies at the leg's start.
        until: the share of the leg's steps over which it fades to nothing (a half cosine); above 1: it never fades.
        period: what counts as low, in latents of the leg's size: all that changes more slowly.
    """

    weight: float
    until: float
    period: float


def tie_weight(tie: Tie, done: float, steps: float) -> float:
    """The tie's weight after `done` of a leg's `steps`: a half cosine from `weight` to 0 at `until` of the way.

    Every published tie fades: DemoFusion's and FreeScale's as a power of a cosine, DiffuseHigh's after a third.
    """
    if tie.until > 1:
        return tie.weight
    way = done / steps / tie.until
    return tie.weight * (1 + math.cos(math.pi * way)) / 2 if way < 1 else 0.0
