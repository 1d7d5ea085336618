"""Drawing at the native size and enlarging with a super-resolution network, Real-ESRGAN or another file's.

`generation.super_resolution` has the networks and their source.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ..generation.generate import Generation
from ..generation.super_resolution import enlarge, from_file, real_esrgan
from ..generation.upscalers import UPSCALERS
from .upscale_lanczos import draw_enlarged

NAME = "upscale_esrgan"


def draw(
    pipe: Any, prompt: str, *, model: str = UPSCALERS[0], weights: str | Path | None = None, **arguments: Any
) -> Generation:
    """One picture, drawn at the native area and enlarged by a network; the other arguments are `generation.generate`'s.

    Args:
        model: which of Real-ESRGAN's networks.
        weights: a file of another network, instead.
    """
    network = real_esrgan(model) if weights is None else from_file(weights)
    parameters = {"model": model} if weights is None else {"weights": str(weights)}
    return draw_enlarged(partial(enlarge, network=network), NAME, parameters, pipe, prompt, **arguments)
