"""ScaleCrafter's published settings (arXiv 2310.07702, appendix), by model and size.

Steps are counted of fifty; `level_after` turns them into noise levels. The paper's lists for SDXL also name encoder
blocks that SDXL does not have; they are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..core.conv import Dilation, nearest_half
from ..core.schedule import Shape, level_after
from ..errors import RedilateError
from .plan import NoiseDamping, Plan, block_of

Family = Literal["sd15", "sd21", "sdxl"]
# Block → dilation: `mid`, or the side and number of another, `d2` for down_blocks.2, `u1` for up_blocks.1.
Blocks = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """One row of the published table."""

    steps: int
    blocks: Blocks
    damping_steps: int = 0
    damping_blocks: Blocks = field(default_factory=dict)
    schedule: Shape = "hold"


# The blocks of Stable Diffusion's settings with one dilation for all.
_EVEN = ("d1", "d2", "d3", "mid", "u0", "u1", "u2")
_SD15_AT_4: Blocks = {"d1": 2, "d2": 3, "d3": 4, "mid": 4, "u0": 4, "u1": 3, "u2": 2}
_SD21_AT_4: Blocks = {"d2": 3, "d3": 4, "mid": 4, "u0": 4, "u1": 4, "u2": 3, "u3": 2}
_SDXL_AT_4: Blocks = {"d2": 4, "mid": 4, "u0": 4, "u1": 3, "u2": 2}
_MILD: Blocks = {"mid": 2, "u0": 2}
# By family and by how many times the native side: 1024² from 512² and 2048² from 1024² are both 2.
SETTINGS: dict[tuple[Family, float], Setting] = {
    ("sd15", 2): Setting(30, dict.fromkeys(_EVEN, 2)),
    ("sd21", 2): Setting(20, dict.fromkeys(_EVEN, 2)),
    ("sd15", 2.5): Setting(35, dict.fromkeys(_EVEN, 2.5)),
    ("sd21", 2.5): Setting(30, dict.fromkeys(_EVEN, 2.5)),
    ("sd15", 4): Setting(35, _SD15_AT_4, 35, {"d2": 3, "d3": 4, "mid": 4, "u0": 4, "u1": 3}, "progressive"),
    ("sd21", 4): Setting(37, _SD21_AT_4, 37, _MILD, "progressive"),
    ("sdxl", 2): Setting(30, {"mid": 2, "u0": 2}),
    ("sdxl", 2.5): Setting(30, {"mid": 2.5, "u0": 2.5}),
    ("sdxl", 4): Setting(35, _SDXL_AT_4, 35, _MILD, "progressive"),
}


def published_plan(names: list[str], family: Family | None, ratio: tuple[float, float]) -> Plan:
    """The published plan for a model family.

    At other sizes than the published, each axis has the dilation for its own ratio: interpolated linearly between the
    published ones (1 at the native size) to the nearest half, beyond the largest in proportion. The larger ratio
    decides
    the rest: noise levels by interpolation, schedule and ND-CFG from the nearest published setting. So a block's
    dilation grows with the picture, unless the published one falls (Stable Diffusion's outermost dilated level, from
    2.5 to 4).

    Args:
        names: the U-Net's spatial convolutions.
        family: which model it is.
        ratio: target side over native side, (height, width).

    Raises:
        RedilateError: for a family without published settings.
    """
    settings = {side: setting for (of, side), setting in SETTINGS.items() if of == family}
    if family is None or not settings:
        raise RedilateError(
            "settings were published for Stable Diffusion 1.5, 2.1 and SDXL only; use preset='default'"
        )
    largest = max(ratio)
    if largest <= 1:
        return Plan(
            fractional="published", note=f"published settings for {family}: at or below the native size"
        )
    nearest = settings[min(settings, key=lambda side: abs(side - largest))]
    exact = ratio[0] == ratio[1] and largest in settings
    damping = None
    if nearest.damping_steps:
        damping = NoiseDamping(
            dilation=_named(names, _per_axis(settings, ratio, "damping_blocks")),
            until=level_after(nearest.damping_steps),
            reuse=0.0,
        )
    return Plan(
        dilation=_named(names, _per_axis(settings, ratio, "blocks")),
        until=level_after(_between({side: float(row.steps) for side, row in settings.items()}, largest)),
        schedule=nearest.schedule,
        noise_damping=damping,
        fractional="published",
        note=f"published settings for {family}{'' if exact else ', interpolated'} at "
        f"{ratio[1]:.4g} × {ratio[0]:.4g} times the native width and height",
    )


def _per_axis(
    settings: dict[float, Setting], ratio: tuple[float, float], field: Literal["blocks", "damping_blocks"]
) -> dict[str, Dilation]:
    """Block → (d_h, d_w): each axis by its own ratio."""
    # Only sizes with published blocks count (ND-CFG has few), and the native size.
    rows: dict[float, Blocks] = {side: getattr(row, field) for side, row in settings.items()}
    rows = {1.0: {}} | {side: blocks for side, blocks in rows.items() if blocks}
    blocks = sorted({block for row in rows.values() for block in row})
    found: dict[str, Dilation] = {}
    for block in blocks:
        points = {side: row.get(block, 1.0) for side, row in rows.items()}
        found[block] = (_dilation(points, ratio[0]), _dilation(points, ratio[1]))
    return found


def _dilation(points: dict[float, float], ratio: float) -> float:
    """A block's dilation at `ratio`: as published, else interpolated to the nearest half."""
    if ratio in points:
        return points[ratio]
    last = max(points)
    if ratio > last:
        wanted = points[last] * ratio / last if points[last] > 1 else 1.0
    else:
        wanted = _between(points, ratio)
    return nearest_half(wanted)


def _between(points: dict[float, float], at: float) -> float:
    """Piecewise linear through `points`, constant before the first and after the last."""
    below = max((side for side in points if side <= at), default=min(points))
    above = min((side for side in points if side >= at), default=max(points))
    if below >= above:
        return points[above if at < below else below]
    share = (at - below) / (above - below)
    return (1 - share) * points[below] + share * points[above]


def _named(names: list[str], blocks: dict[str, Dilation]) -> dict[str, Dilation]:
    sides = {"d": "down_blocks", "u": "up_blocks"}
    full = {
        "mid_block" if block == "mid" else f"{sides[block[0]]}.{block[1:]}": dilation
        for block, dilation in blocks.items()
    }
    return {name: full[block_of(name)] for name in names if block_of(name) in full}
