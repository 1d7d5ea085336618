"""Windows of self-attention that hold as many tokens as a whole map did in training."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.conv import Pair
from .plan import Windows


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
