"""The plan that follows from a U-Net's structure and a size, with no list per model."""

from __future__ import annotations

from ..core.geometry import Dilation, nearest_half
from .plan import Plan

# What the ablation in docs/results.md chose: higher leaves structure to the network as trained, lower costs texture.
UNTIL = 0.5


def default_plan(names: list[str], ratio: tuple[float, float]) -> Plan:
    """The default plan for a target `ratio` times the native side, (height, width).

    Each axis is dilated by its own ratio, so a wide picture is dilated in its width alone; a ratio of 1 or less
    gives the neutral plan. The constants below are what measurement on the bundled model chose (docs/results.md).

    Args:
        names: the U-Net's spatial convolutions, in order.
        ratio: target side over native side, each above 0.
    """
    full: Dilation = (nearest_half(ratio[0]), nearest_half(ratio[1]))
    if full == (1.0, 1.0):
        return Plan(note="at or below the native size")
    return Plan(
        dilation=dict.fromkeys(names, full), until=UNTIL, note=f"default for {ratio[1]:g} × {ratio[0]:g}"
    )
