"""The settings that ScaleCrafter published (arXiv 2310.07702, appendix), by model and size.

Of fifty steps; `level_after` turns them into noise levels. SDXL's lists also name encoder blocks that SDXL does
not have; what exists is what is meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..core.schedule import Shape, level_after
from ..errors import RedilateError
from .plan import NoiseDamping, Plan
from .structure import block_of

Family = Literal["sd15", "sd21", "sdxl"]
Blocks = dict[str, float]


def _expand(**groups: float) -> Blocks:
    """`_expand(mid=4, d2=3, u1=3)` → {"mid_block": 4, "down_blocks.2": 3, "up_blocks.1": 3}."""
    sides = {"d": "down_blocks", "u": "up_blocks"}
    return {
        "mid_block" if key == "mid" else f"{sides[key[0]]}.{key[1:]}": value for key, value in groups.items()
    }


@dataclass(frozen=True)
class Setting:
    """One row of the published table."""

    steps: int
    blocks: Blocks
    damping_steps: int = 0
    damping_blocks: Blocks = field(default_factory=dict)
    schedule: Shape = "hold"


def _inner(d: float) -> Blocks:
    """All of a four-level U-Net but its outermost level."""
    return _expand(d1=d, d2=d, d3=d, mid=d, u0=d, u1=d, u2=d)


_SDXL_MILD = _expand(mid=2, u0=2)

# By family and by how many times the native side: 1024² from 512² and 2048² from 1024² are both 2.
SETTINGS: dict[tuple[Family, float], Setting] = {
    ("sd15", 2): Setting(30, _inner(2)),
    ("sd21", 2): Setting(20, _inner(2)),
    ("sd15", 2.5): Setting(35, _inner(2.5)),
    ("sd21", 2.5): Setting(30, _inner(2.5)),
    ("sd15", 4): Setting(
        35,
        _expand(d1=2, d2=3, d3=4, mid=4, u0=4, u1=3, u2=2),
        35,
        _expand(d2=3, d3=4, mid=4, u0=4, u1=3),
        "progressive",
    ),
    ("sd21", 4): Setting(
        37, _expand(d2=3, d3=4, mid=4, u0=4, u1=4, u2=3, u3=2), 37, _expand(mid=2, u0=2), "progressive"
    ),
    ("sdxl", 2): Setting(30, _expand(mid=2, u0=2)),
    ("sdxl", 2.5): Setting(30, _expand(mid=2.5, u0=2.5)),
    ("sdxl", 4): Setting(35, _expand(d2=4, mid=4, u0=4, u1=3, u2=2), 35, _SDXL_MILD, "progressive"),
}


def published_plan(names: list[str], family: Family | None, ratio: tuple[float, float]) -> Plan:
    """The published plan for a model family, on the modules of `names` that exist.

    Args:
        names: the U-Net's spatial convolutions.
        family: which model it is.
        ratio: target side over native side, (height, width).

    Raises:
        RedilateError: for a family or a ratio that was never published; the message lists those that were.
    """
    known = sorted(side for of, side in SETTINGS if of == family)
    if family is None or not known:
        raise RedilateError(
            "settings were published for Stable Diffusion 1.5, 2.1 and SDXL only; use preset='default'"
        )
    setting = SETTINGS.get((family, ratio[0])) if ratio[0] == ratio[1] else None
    if setting is None:
        listed = ", ".join(f"{side:g}" for side in known)
        raise RedilateError(
            f"nothing was published for {ratio[1]:g} × {ratio[0]:g} times the native width and height; published "
            f"for {family}: squares of {listed} times the native side; or use preset='default'"
        )
    damping = None
    if setting.damping_steps:
        damping = NoiseDamping(
            dilation=_named(names, setting.damping_blocks), until=level_after(setting.damping_steps)
        )
    return Plan(
        dilation=_named(names, setting.blocks),
        until=level_after(setting.steps),
        schedule=setting.schedule,
        noise_damping=damping,
        fractional="published",
        note=f"published settings for {family} at {ratio[0]:g} times the native side",
    )


def _named(names: list[str], blocks: Blocks) -> dict[str, tuple[float, float]]:
    return {
        name: (blocks[block_of(name)], blocks[block_of(name)]) for name in names if block_of(name) in blocks
    }
