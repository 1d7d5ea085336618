"""The plan that follows from a U-Net's structure and a size, with no list per model."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.geometry import Dilation, Pair, nearest_half
from .plan import Plan, Windows
from .structure import block_of, count_levels

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
        dilation=dict.fromkeys(names, full),
        until=UNTIL,
        by_channels=_but_the_last_skips(names) if any(axis % 1 for axis in full) else frozenset(),
        note=f"default for {ratio[1]:g} × {ratio[0]:g}",
    )


def _but_the_last_skips(names: list[str]) -> frozenset[str]:
    """All but those that read the outermost skip connections, the first of each resnet in the last up block.

    Met by channels there, a dilation cuts thin shapes apart; elsewhere exact taps are not worth their time
    (docs/results.md).
    """
    last = f"up_blocks.{count_levels(names) - 1}"
    return frozenset(name for name in names if not (block_of(name) == last and name.endswith(".conv1")))


def default_windows(
    levels: Mapping[str, int], latents: Pair, ratio: tuple[float, float], below: float
) -> Windows | None:
    """Windows that hold as many tokens as the whole map did in training, at the two outermost levels with attention.

    Args:
        levels: the U-Net's self-attentions, in order, and the level of each.
        latents: (height, width) of the target.
        ratio: target side over native side, (height, width).
        below: the noise level below which they are in force.

    Returns:
        None where no map is larger than in training.
    """
    outer = sorted(set(levels.values()))[:2]
    size = {}
    for name, level in levels.items():
        whole = [-(-side // 2**level) for side in latents]
        window = [max(1, round(side / max(1.0, axis))) for side, axis in zip(whole, ratio, strict=True)]
        if level in outer and window != whole:
            size[name] = (window[0], window[1])
    return Windows(size=size, below=below) if size else None
