"""Default windows of self-attention."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.conv import Pair
from .plan import Windows


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
