"""The crops at full resolution that a picture is seen through: resizing hides repetition and missing detail alike."""

from __future__ import annotations

import numpy as np
from PIL import Image

CROPS = 4  # of every picture


def crops(image: Image.Image, size: tuple[int, int], seed: int) -> list[Image.Image]:
    """CROPS pieces of `size` (width, height) at places drawn from `seed`: equal for pictures of equal size.

    A picture that is smaller along an axis is taken whole along it.
    """
    width, height = min(size[0], image.width), min(size[1], image.height)
    draw = np.random.default_rng(seed)
    lefts = draw.integers(image.width - width, size=CROPS, endpoint=True)
    tops = draw.integers(image.height - height, size=CROPS, endpoint=True)
    return [
        image.crop((left, top, left + width, top + height))
        for left, top in zip(lefts.tolist(), tops.tolist(), strict=True)
    ]
