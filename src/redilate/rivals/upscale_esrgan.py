"""Drawing at the native size and enlarging with a super-resolution network, Real-ESRGAN or another file's.

`generation.super_resolution` has the networks and their source.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ..generation.run import Generation
from ..generation.super_resolution import enlarge, enlarged_by, from_file, shipped_model
from ..generation.upscalers import UPSCALERS, Upscaler
from .upscale_lanczos import draw_enlarged

_NAMES: dict[Upscaler, str] = {"realesr-animevideov3": "upscale_animevideo"}
NAME = "upscale_esrgan"


def draw(
    pipe: Any,
    prompt: str,
    *,
    model: Upscaler = UPSCALERS[0],
    weights: str | Path | None = None,
    **arguments: Any,
) -> Generation:
    """One picture, drawn at the native area and enlarged by a network; the other arguments are `generation.generate`'s.

    Args:
        model: which of Real-ESRGAN's networks.
        weights: a file of another network, instead.
    """
    if weights is None:
        shipped_model(model)  # refused now where it is not installed, and not when the picture is drawn
        how, name, parameters = partial(enlarged_by, model), _NAMES.get(model, NAME), {"model": model}
    else:
        how, name, parameters = partial(enlarge, network=from_file(weights)), NAME, {"weights": str(weights)}
    return draw_enlarged(how, name, parameters, pipe, prompt, **arguments)
