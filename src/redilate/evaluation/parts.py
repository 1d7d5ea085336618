"""How many parts an object is drawn with: the repetition that separate objects do not show.

Direct inference far above the training size often keeps one outline and fills it with too many parts: a face of
twelve eyes, a cactus of seven stems. A part is a connected region of about one colour. The colours are those of the
native picture, for both pictures, so that both are cut by one rule.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

COLOURS = 8  # of the native picture's palette
WORKING_SIZE = 256  # pixels of the short side at which every picture is cut
# A smaller region, as a share of a square of the short side, is noise or a rim between two colours.
SMALLEST_SHARE = 0.0006
# Of 255, summed over the channels: palette entries nearer than this are one colour, as a shaded surface is.
NEAREST = 90


def palette(native: Image.Image) -> np.ndarray:
    """The colours, float32 of shape (n, 3) in [0, 255] with n ≤ COLOURS, that `native` is drawn in."""
    return _palette(native.convert("RGB").tobytes(), native.size)


@lru_cache(maxsize=1)  # one native picture has many large ones
def _palette(pixels: bytes, size: tuple[int, int]) -> np.ndarray:
    cut = Image.frombytes("RGB", size, pixels).quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=2)
    found = np.asarray(cut.getpalette(), dtype=np.float32).reshape(-1, 3)
    times = np.bincount(np.asarray(cut).ravel(), minlength=len(found))
    kept: list[np.ndarray] = []
    for index in np.argsort(-times, kind="stable")[: np.count_nonzero(times)]:
        if all(np.abs(found[index] - other).sum() >= NEAREST for other in kept):
            kept.append(found[index])
    return np.stack(kept)


def count_parts(image: Image.Image, colours: np.ndarray) -> int:
    """The number of regions of one of `colours` (n, 3) that `image` has, the ground among them.

    What it can't see: parts that touch and have one colour, and a repetition that has the same number of parts.
    """
    scale = WORKING_SIZE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    shrunk = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    pixels = ndimage.gaussian_filter(shrunk, (1, 1, 0))
    nearest = np.square(pixels[:, :, None] - colours).sum(axis=3).argmin(axis=2)
    smallest = SMALLEST_SHARE * WORKING_SIZE**2
    count = 0
    for colour in range(len(colours)):
        # Opened, because between two colours lies a line of a third, blended one.
        region = ndimage.binary_opening(nearest == colour, iterations=2)
        labels, found = ndimage.label(region)  # type: ignore[misc]  # a tuple where no output is given
        areas = np.bincount(labels.ravel(), minlength=found + 1)[1:]
        count += int((areas >= smallest).sum())
    return count
