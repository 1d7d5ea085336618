"""The defaults by model family, with their sources, and each leg's size, starting noise level and plan.

Sizes are (height, width) in pixels. Published evidence decides for real checkpoints; measurements on the small bundled
model decide for it alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..core.conv import Dilation, Pair, nearest_half
from ..core.schedule import Tie
from .plan import NoiseDamping, Plan, Windows, block_of, count_resolution_levels, resolution_level
from .published import Family as PublishedFamily
from .published import published_plan

Family = Literal["bundled", "sd15", "sd21", "sdxl", "distilled", "unknown"]
Preset = Literal["default", "published", "faithful"]
PRESETS: tuple[Preset, ...] = ("default", "published", "faithful")


@dataclass(frozen=True)
class FamilyDefaults:
    """One row of the table.

    Attributes:
        strength: the noise level in (0, 1] at which the first large leg starts.
        guidance: classifier-free guidance weight of every leg; 1: none.
        until: the noise level below which a large leg's network runs as trained.
        least_share: a large leg's least number of steps, as a share of the steps asked for.
        source: where the values come from.
        step_share: a large leg's steps, as a share of those from its noise level down.
        guided: whether large legs have guidance.
        tie_until: the share of a large leg's steps over which its tie fades to 0; above 1: it does not fade.
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
    # One unguided step from 0.25 at every doubling: PixelRush. It starts below `until`, so the network runs as trained.
    "distilled": FamilyDefaults(0.25, 1.0, 0.3, 0.0, "PixelRush"),
    "unknown": FamilyDefaults(0.45, 5.0, 0.3, 6 / 25, "as SDXL"),
}

# Each further doubling starts at this share of the noise level before (FreCaS: 0.61, then 0.39), but above `until`.
FURTHER = 0.7
_ABOVE_UNTIL = 0.01

# From this many times the native area on, a picture is drawn natively first.
LEGS_FROM = 1.5
# How many times larger than the one before a leg may be: enlarged by a filter, by a network.
LARGEST_SCALE, LARGEST_SCALE_OF_NETWORK = 2.0, 4.0
TIE = Tie(weight=1.0, until=FamilyDefaults.tie_until, period=2.0)

# A wrong ratio is worse than a wrong area: it shows as a stretched picture.
_RATIO_WEIGHT = 4.0
_FURTHEST = 0.5  # |log| of the native picture's area over the native area, at most

# An odd number, so that all legs of all seeds have different noise.
_SEED_STEP = 0x9E3779B97F4A7C15

_UNKNOWN_UNTIL = 0.4


def row_of(family: Family, preset: Preset, freely: bool = False) -> FamilyDefaults:
    """A family's row of the table with a preset's changes.

    "faithful" keeps close to the native picture: short large legs without guidance, tied to the end.

    Args:
        freely: drop the family's limits on change, for edits and for a strength above the default.
    """
    row = DEFAULTS[family]
    if preset == "faithful":
        held = {"guided": False, "tie_until": 2.0, "noise_floor": 0.1}
        return replace(row, strength=0.25, least_share=0.12, step_share=0.48, **held)
    if freely:
        return replace(row, guided=True, step_share=1.0, tie_until=TIE.until, noise_floor=0.0)
    return row


def strengths(first: float, count: int, family: Family) -> list[float]:
    """The starting noise levels of `count` large legs, the first at `first`."""
    lowest = min(first, DEFAULTS[family].until + _ABOVE_UNTIL)
    return [max(first * FURTHER**index, lowest) for index in range(count)]


def leg_steps(asked: int, start: float, row: FamilyDefaults) -> int:
    """Denoising steps of a large leg that starts at the noise level `start`; `asked` is a whole denoising's."""
    return max(1, math.ceil(row.least_share * asked), round(asked * start * row.step_share))


def leg_seed(seed: int, number: int) -> int:
    """The seed of leg `number` of a picture, 0 for the first."""
    return (seed + number * _SEED_STEP) % 2**63


def native_start(target: Pair, native: Pair, unit: int) -> Pair | None:
    """`native_shape`; None if one leg draws `target` directly."""
    start = native_shape(target, native, unit)
    near = target[0] * target[1] < LEGS_FROM * native[0] * native[1]
    return None if near or (target[0] <= start[0] and target[1] <= start[1]) else start


def native_shape(target: Pair, native: Pair, unit: int) -> Pair:
    """The size of the native picture for `target`: about its ratio at about the native area.

    Both sides are multiples of `unit`; of all such sizes the one with the least weighted error of ratio and area.
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
    # For an extreme ratio there may be no multiple near the native area.
    return min(candidates, key=error) if candidates else _nearest(math.sqrt(area * ratio), ratio, unit)


def _nearest(height: float, ratio: float, unit: int) -> Pair:
    return max(unit, round(height / unit) * unit), max(unit, round(height / ratio / unit) * unit)


def leg_sizes(start: Pair, target: Pair, native: Pair, largest_scale: float, unit: int) -> list[Pair]:
    """The sizes of the large legs from `start` to `target`, in equal ratios of at most `largest_scale` per side.

    Sides in between are multiples of `unit`. Sizes below the `native` area are left out, since no network is at its
    best there. Empty if the target is no larger than the start.
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
    """The plan of a large leg: the deepest encoder levels and the mid block, each axis by its own ratio.

    FreeScale (arXiv 2412.09626) dilates SDXL's down_blocks.1's downsampler, down_blocks.2 and mid_block, and not the
    decoder: dilating it too raised FID at 2048² from 44.7 to 75.4. In a U-Net of four levels the two inner ones are at
    the same depth.

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
    """The plan for drawing at full size from the first step, as ScaleCrafter does. Arguments as `leg_plan`.

    The published setting if the family has one; for the bundled model what measured best; else the deepest level, as
    for SDXL.
    """
    full = _full(ratio)
    if full == (1.0, 1.0):
        return Plan(note="at or below the native size")
    if family == "bundled":
        return inner_levels(names, ratio)
    if family in ("sd15", "sd21", "sdxl"):
        plan = published_plan(names, family, ratio)
        # The published form of a fractional dilation blurs.
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
        family: whose defaults hold.
        published: whose published settings hold with the preset "published".
        preset: "published" takes ScaleCrafter's in every leg.
        whole: whether the leg starts from pure noise at full size.

    Raises:
        RedilateError: "published" for a family without published settings.
    """
    if preset == "published":
        return published_plan(names, published, ratio)
    return (whole_plan if whole else leg_plan)(names, family, ratio)


def inner_levels(names: list[str], ratio: tuple[float, float]) -> Plan:
    """Every convolution below the outermost level, each axis by its own ratio, until the noise level 0.3.

    This measured best on the bundled model (docs/studies/2026-11-defaults.md): dilating the outermost level leaves a
    grid of noise, and at low noise, where it was trained on close-ups, it draws detail best as trained.
    """
    levels, full = count_resolution_levels(names), _full(ratio)
    inner = [name for name in names if resolution_level(name, levels) > 0]
    fractional = any(axis % 1 for axis in full)
    return Plan(
        dilation=dict.fromkeys(inner, full),
        until=DEFAULTS["bundled"].until,
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


def default_windows(
    levels: Mapping[str, int], latents: Pair, ratio: tuple[float, float], below: float
) -> Windows | None:
    """Windows as large as the whole map was in training, at the two outermost levels with attention.

    Args:
        levels: the U-Net's self-attentions, in order, and the level of each.
        latents: (height, width) of the target.
        ratio: target side over native side, (height, width).
        below: the noise level below which there are windows.

    Returns:
        None if no map is larger than in training.
    """
    outer = sorted(set(levels.values()))[:2]
    size = {}
    for name, level in levels.items():
        whole = [-(-side // 2**level) for side in latents]
        window = [max(1, round(side / max(1.0, axis))) for side, axis in zip(whole, ratio, strict=True)]
        if level in outer and window != whole:
            size[name] = (window[0], window[1])
    return Windows(size=size, below=below) if size else None
