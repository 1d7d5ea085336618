"""What is done where nobody says otherwise, by model family: one table, with where each value comes from; through which
sizes, from which noise levels and with which plans the legs go. All sizes are (height, width) in pixels.

For real checkpoints published evidence decides; the bundled model, a small one, decides its own values alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from ..core.conv import Dilation, Pair, nearest_half
from ..core.schedule import Tie
from .plan import NoiseDamping, Plan, block_of, count_resolution_levels, resolution_level
from .published import Family as PublishedFamily
from .published import published_plan

Family = Literal["bundled", "sd15", "sd21", "sdxl", "distilled", "unknown"]
Preset = Literal["default", "published", "faithful"]
PRESETS: tuple[Preset, ...] = ("default", "published", "faithful")


@dataclass(frozen=True)
class FamilyDefaults:
    """One row of the table.

    Attributes:
        strength: the noise level in (0, 1] that the first large leg starts at.
        guidance: classifier-free guidance weight of every leg; 1: none.
        until: the noise level below which a large leg's network runs as trained.
        least_share: of the denoising steps asked for, how many a large leg takes at least.
        source: where the values come from.
        step_share: of the steps that a large leg's noise level leaves it, how many it takes.
        guided: whether the large legs are guided as the first one is.
        tie_until: the share of a large leg's steps over which its tie fades to nothing; above 1: it never fades.
        noise_floor: of a large leg; see `core.schedule`.
    """

    strength: float
    guidance: float
    until: float
    least_share: float
    source: str
    step_share: float = 1.0
    guided: bool = True
    tie_until: float = 0.5
    noise_floor: float = 0.0


DEFAULTS: dict[Family, FamilyDefaults] = {
    "bundled": FamilyDefaults(
        0.45,
        3.0,
        0.3,
        6 / 25,
        "measured on it: docs/studies/2026-11-defaults.md",
        step_share=0.5,
        guided=False,
        tie_until=2.0,
        noise_floor=0.1,
    ),
    "sd15": FamilyDefaults(0.45, 7.5, 0.3, 6 / 25, "as SDXL; no cascade published its settings for it"),
    "sd21": FamilyDefaults(0.45, 7.5, 0.3, 6 / 25, "as SDXL; no cascade published its settings for it"),
    # Between DiffuseHigh (0.28), FreCaS (0.34), RectifiedHR (0.38), ScaleDiff (0.40) and FreeScale (0.68);
    # user interfaces have 0.3 to 0.5. Dilation until 0.3: FreeScale, the first 35 of 50 steps.
    "sdxl": FamilyDefaults(0.45, 5.0, 0.3, 6 / 25, "FreeScale, FreCaS, RectifiedHR, ScaleDiff"),
    # One step from 0.25 at every doubling, unguided: PixelRush. It starts below `until`: as trained.
    "distilled": FamilyDefaults(0.25, 1.0, 0.3, 0.0, "PixelRush"),
    "unknown": FamilyDefaults(0.45, 5.0, 0.3, 6 / 25, "as SDXL"),
}

# A further doubling starts this much lower than the one before (FreCaS: 0.61, then 0.39), but above `until`.
FURTHER = 0.7
_ABOVE_UNTIL = 0.01

# Above this many times the native area a picture is drawn natively first; below nothing is gained by it.
LEGS_FROM = 1.5
# How many times larger a leg is than the one before at most: enlarged by a filter, by a network.
LARGEST_SCALE, LARGEST_SCALE_OF_NETWORK = 2.0, 4.0
TIE = Tie(weight=1.0, until=FamilyDefaults.tie_until, period=2.0)

# Of a wrong ratio and a wrong area, the ratio is the worse: it shows as a stretched picture.
_RATIO_WEIGHT = 4.0
_FURTHEST = 0.5  # of the native area, by which the native picture may be smaller or larger

# An odd number, so that every leg of every seed draws noise of its own.
_SEED_STEP = 0x9E3779B97F4A7C15

_UNKNOWN_UNTIL = 0.4


def row_of(family: Family, preset: Preset, freely: bool = False) -> FamilyDefaults:
    """The table's row for a family, changed as a preset has it.

    "faithful" keeps to the native picture: short large legs, unguided, tied to their end.

    Args:
        freely: nothing of the family's holds the large legs back, where a picture is edited or a strength above the
            default asks for more change than that makes.
    """
    row = DEFAULTS[family]
    if preset == "faithful":
        held = {"guided": False, "tie_until": 2.0, "noise_floor": 0.1}
        return replace(row, strength=0.25, least_share=0.12, step_share=0.48, **held)
    if freely:
        return replace(row, guided=True, step_share=1.0, tie_until=TIE.until, noise_floor=0.0)
    return row


def strengths(first: float, count: int, family: Family) -> list[float]:
    """The noise level that each of `count` large legs starts at, the first at `first`."""
    lowest = min(first, DEFAULTS[family].until + _ABOVE_UNTIL)
    return [max(first * FURTHER**index, lowest) for index in range(count)]


def leg_steps(asked: int, start: float, row: FamilyDefaults) -> int:
    """Denoising steps of a large leg that starts at the noise level `start`, of those `asked` for."""
    return max(1, math.ceil(row.least_share * asked), round(asked * start * row.step_share))


def leg_seed(seed: int, number: int) -> int:
    """The seed of leg `number` of a picture, 0 for the first."""
    return (seed + number * _SEED_STEP) % 2**63


def native_start(target: Pair, native: Pair, unit: int) -> Pair | None:
    """The size of the native picture that a drawing of `target` starts with; None where one leg draws it at once.

    Args:
        target, native, unit: as for `native_shape`.
    """
    start = native_shape(target, native, unit)
    near = target[0] * target[1] < LEGS_FROM * native[0] * native[1]
    return None if near or (target[0] <= start[0] and target[1] <= start[1]) else start


def native_shape(target: Pair, native: Pair, unit: int) -> Pair:
    """The size of the native picture for a `target`: about the target's ratio at about the native area.

    Args:
        target, native: the sizes asked for and trained at.
        unit: both sides are multiples of it.

    Returns:
        Among the multiples, the one with the least weighted error of ratio and area.
    """
    ratio, area = target[0] / target[1], native[0] * native[1]

    def error(size: Pair) -> float:
        off_ratio = abs(math.log(size[0] / size[1] / ratio))
        return _RATIO_WEIGHT * off_ratio + abs(math.log(size[0] * size[1] / area))

    candidates = []
    for height in range(unit, math.ceil(math.sqrt(area * ratio) * 2 / unit) * unit + 1, unit):
        for width in {math.floor(height / ratio / unit) * unit, math.ceil(height / ratio / unit) * unit}:
            if width and abs(math.log(height * width / area)) <= _FURTHEST:
                candidates.append((height, width))
    # An extreme ratio may have no multiple near the area: then the narrow side is one unit or more, and as it comes.
    return min(candidates, key=error) if candidates else _nearest(math.sqrt(area * ratio), ratio, unit)


def _nearest(height: float, ratio: float, unit: int) -> Pair:
    return max(unit, round(height / unit) * unit), max(unit, round(height / ratio / unit) * unit)


def leg_sizes(start: Pair, target: Pair, native: Pair, largest_scale: float, unit: int) -> list[Pair]:
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


def leg_plan(names: list[str], family: Family, ratio: tuple[float, float]) -> Plan:
    """The plan of a large leg: the deepest maps of the encoder and the mid block, each axis by its own ratio.

    FreeScale (arXiv 2412.09626) dilates SDXL's down_blocks.1's downsampler, down_blocks.2 and mid_block and spares
    the decoder: with it dilated, FID at 2048² went from 44.7 to 75.4. In a U-Net of four levels the same depth is
    the two inner ones.

    Args:
        names: the U-Net's spatial convolutions, in order.
        ratio: target side over native side, (height, width).
    """
    full = _full(ratio)
    if full == (1.0, 1.0):
        return Plan(note="at or below the native size")
    if family == "bundled":
        return inner_levels(names, ratio)
    return Plan(
        dilation=dict.fromkeys(filter(_is_deep_encoder, names), full),
        until=DEFAULTS[family].until,
        note=f"large leg at {ratio[1]:.4g} × {ratio[0]:.4g} times the native width and height",
    )


def whole_plan(names: list[str], family: Family, ratio: tuple[float, float]) -> Plan:
    """The plan of a picture drawn at full size from the first step: ScaleCrafter's own way.

    The published setting for the families that have one; for the bundled model what looked best; for any other the
    deepest level, as SDXL's.

    Args:
        names, ratio: as for `leg_plan`.
    """
    full = _full(ratio)
    if full == (1.0, 1.0):
        return Plan(note="at or below the native size")
    if family == "bundled":
        return inner_levels(names, ratio)
    if family in ("sd15", "sd21", "sdxl"):
        plan = published_plan(names, family, ratio)
        # The published form of a fractional dilation blurs; see `core.conv`.
        damping = plan.noise_damping
        if damping is not None:
            damping = NoiseDamping(dilation=damping.dilation, until=damping.until)
        return plan.model_copy(update={"fractional": "taps", "noise_damping": damping})
    deepest = count_resolution_levels(names) - 1
    return Plan(
        dilation={name: full for name in names if resolution_level(name, deepest + 1) == deepest},
        until=_UNKNOWN_UNTIL,
        note=f"deepest level at {ratio[1]:.4g} × {ratio[0]:.4g} times the native width and height",
    )


def preset_plan(
    names: list[str],
    family: Family,
    published: PublishedFamily | None,
    ratio: tuple[float, float],
    preset: Preset,
    whole: bool,
) -> Plan:
    """The plan of one leg.

    Args:
        names, ratio: as for `leg_plan`.
        family: whose row of the table holds.
        published: whose published settings hold, for "published".
        preset: "published" is ScaleCrafter's in every leg.
        whole: whether the leg starts from pure noise at full size.

    Raises:
        RedilateError: "published" for a family that nothing was published for.
    """
    if preset == "published":
        return published_plan(names, published, ratio)
    return (whole_plan if whole else leg_plan)(names, family, ratio)


def inner_levels(names: list[str], ratio: tuple[float, float]) -> Plan:
    """Every convolution but the outermost level's, each axis by its own ratio, until the noise level 0.3.

    What measured best on the bundled model (docs/studies/2026-11-defaults.md): it leans on all of its inner levels, a
    dilated outermost level leaves a grid of noise, and at low noise, where it has seen close-ups, it draws detail
    best as trained.
    """
    levels, full = count_resolution_levels(names), _full(ratio)
    inner = [name for name in names if resolution_level(name, levels) > 0]
    fractional = any(axis % 1 for axis in full)
    return Plan(
        dilation=dict.fromkeys(inner, full),
        until=DEFAULTS["bundled"].until,
        # A share of the channels at each of the two whole dilations takes the plain convolution's time.
        by_channels=frozenset(inner) if fractional else frozenset(),
        note=f"inner levels at {ratio[1]:.4g} × {ratio[0]:.4g} times the native width and height",
    )


def _full(ratio: tuple[float, float]) -> Dilation:
    return nearest_half(ratio[0]), nearest_half(ratio[1])


def _is_deep_encoder(name: str) -> bool:
    block = block_of(name)
    if block == "mid_block":
        return True
    if not block.startswith("down_blocks."):
        return False
    index = int(block.split(".")[1])
    return index >= 2 or (index == 1 and ".downsamplers." in name)
