"""How many objects a picture shows on a plain ground, and whether a large picture shows more than its native one.

Run far above its training size, a diffusion model repeats the object that was asked for. On a plain ground, such
as the bundled model's white, every separate object is one connected region that differs from the ground, so the
repetition can be counted. What hangs together counts as one: a heap of objects that touch, or many eyes in one
face, is for feature_distance (features.py) to see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

# Pictures of any size are counted at one size, so that a picture and its enlargement give the same count.
WORKING_SIZE = 256  # pixels of the short side
# Of 255, in any channel. JPEG-like noise and a decoder's tint of a white ground stay well below it, and a
# light grey part of an object is above it.
THRESHOLD = 24
# Gaps narrower than twice this share of the short side do not part an object: highlights and outlines, not space.
CLOSING = 0.008
# A region of less than this share of the largest one's area is a detail (a spark, a drop), not a repetition.
# The measure is the largest region and not the whole foreground, in which 50 equal objects have 2 % each.
SMALLEST_SHARE = 0.04
# A region of less than this share of the picture is noise, even where nothing larger is drawn.
SMALLEST_AREA = 0.0005


@dataclass(frozen=True)
class Repetition:
    """The objects in a large picture against those in the native picture of the same prompt and seed."""

    components_native: int
    components_large: int

    @property
    def excess(self) -> int:
        """Objects that the large picture has too many; negative where it has too few."""
        return self.components_large - self.components_native

    @property
    def repeated(self) -> bool:
        """Whether the large picture shows more objects than the native one."""
        return self.excess > 0


def compare(native: Image.Image, large: Image.Image) -> Repetition:
    """Count the objects in both pictures; their sizes and ratios may differ."""
    return Repetition(count_objects(native), count_objects(large))


def count_objects(image: Image.Image) -> int:
    """The number of separate objects that `image`, of any size, shows on its plain ground; 0 for an empty one.

    An object is a region (8-connected, its holes filled) that differs from the ground by more than THRESHOLD.
    """
    regions = foreground(image)
    labels = np.empty(regions.shape, dtype=np.int32)
    ndimage.label(regions, structure=np.ones((3, 3)), output=labels)
    areas = np.bincount(labels.ravel())[1:]
    if areas.size == 0:
        return 0
    smallest = max(SMALLEST_SHARE * areas.max(), SMALLEST_AREA * regions.size)
    return int((areas >= smallest).sum())


def foreground(image: Image.Image) -> np.ndarray:
    """Where objects are: booleans of shape (h, w), the short side WORKING_SIZE, narrow gaps closed, holes filled."""
    scale = WORKING_SIZE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    # Bilinear, which Pillow antialiases: Lanczos would ring, and a ring around an object is a region of its own.
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    pixels = ndimage.gaussian_filter(pixels, sigma=(1, 1, 0))
    differs = np.abs(pixels - ground_colour(pixels)).max(axis=2) > THRESHOLD
    # Padded, so that closing does not see the picture's edge as ground and eat into what touches it.
    radius = max(1, round(CLOSING * WORKING_SIZE))
    padded = np.pad(differs, radius)
    closed = ndimage.binary_closing(padded, structure=_disk(radius))[radius:-radius, radius:-radius]
    return np.asarray(ndimage.binary_fill_holes(closed))


def ground_colour(pixels: np.ndarray) -> np.ndarray:
    """The colour, of shape (3,), that most of the border has; pixels: (h, w, 3).

    A median: an object that crosses the border changes nothing until it fills half of it.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.median(border, axis=0)


def _disk(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x**2 + y**2 <= radius**2
