"""One line in ComfyUI's log for each sampling: what was dilated, how far, from and to which noise level."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from redilate.core.conv import Dilation
from redilate.plans.plan import Plan

from .native import PIXELS_PER_LATENT


class Run:
    """One sampling, as its calls of the network tell it; as a text, the line. Several GPUs' threads may tell one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: list[float] = []
        self._dilated: list[float] = []
        self._factors: Mapping[str, Dilation] = {}
        self._plan: Plan | None = None
        self._size = (0, 0)

    def note(self, size: tuple[int, int], plan: Plan, level: float, factors: Mapping[str, Dilation]) -> None:
        """One call: latent (height, width), the plan, the noise level, and the dilations in force at it."""
        with self._lock:
            self._levels.append(level)
            if self._plan is None or len(factors) > len(self._factors):
                self._size, self._plan, self._factors = size, plan, factors
            if factors:
                self._dilated.append(level)

    def __deepcopy__(self, _: dict) -> Run:
        return self  # nodes that copy a sampling's options are still of that sampling

    def __str__(self) -> str:
        if self._plan is None:
            return "nothing was dilated: the network was called past this node"
        size = f"{self._size[1] * PIXELS_PER_LATENT}x{self._size[0] * PIXELS_PER_LATENT}"
        if not self._dilated:
            start = max(self._levels)
            why = "it is no larger than native"
            if self._plan.dilation:
                why = f"from noise level {start:.2f}, below {self._plan.until:.2f} where the plan ends"
            return f"{size}: nothing was dilated: {why}"
        counts = Counter(self._factors.values())
        by = ", ".join(f"{number} by {_times(factor)}" for factor, number in counts.items())
        calls = f"{len(self._dilated)} of {len(self._levels)} calls"
        return (
            f"{size}: {len(self._factors)} convolutions dilated ({by}) from noise level {max(self._dilated):.2f} "
            f"to {max(self._plan.until, min(self._levels)):.2f}, in {calls}"
        )


def _times(factor: Dilation) -> str:
    height, width = factor
    return f"{height:g}" if height == width else f"{height:g} high and {width:g} wide"
