"""Measures of repetition: the number of objects and parts, and self-similarity.

Far above its training size a diffusion model repeats the object, or draws one outline with too many parts. On a plain
ground every separate object is one connected region; a part is a connected region of about one colour. Touching parts
show in their contours, which coincide when the picture is shifted.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

# All pictures are measured at one size, so that an enlargement has the same values.
WORKING_SIZE = 256  # pixels of the short side, for objects and parts

# Of 255, in any channel: above noise and a decoder's tint of a white ground, below a light grey part of an object.
THRESHOLD = 24
# Gaps of less than twice as many pixels (highlights, outlines) do not separate objects.
CLOSING = 2
# A region of less than this share of the largest one's area is a detail (a spark, a drop). Not of the whole
# foreground, in which 50 equal objects have 2 % each.
SMALLEST_OBJECT = 0.04
# A region of less than this share of the picture is noise.
SMALLEST_AREA = 0.0005

COLOURS = 8  # of the native picture's palette
# A smaller region, as a share of a square of the short side, is noise or a rim between two colours.
SMALLEST_PART = 0.0006
# Of 255, summed over the channels: nearer palette entries are one colour, such as a shaded surface's.
NEAREST_COLOUR = 90

CONTOUR_SIZE = 128  # pixels of the short side, for self-similarity
FINE, COARSE = 1.0, 4.0  # pixels: deviations of the two Gaussians whose difference is a contour
NEAREST_SHIFT = 0.08  # of the short side: at smaller shifts a contour coincides with itself
_WAY_POINTS = 48  # between the origin and a shift


def count_objects(image: Image.Image) -> int:
    """The number of separate objects on the plain ground of `image`.

    An object is a region (8-connected, holes filled) that differs from the ground by more than THRESHOLD. Touching
    objects count as one; `count_parts` and `features.feature_distance` see those.
    """
    pixels = _smooth(image)
    differs = np.abs(pixels - ground_colour(pixels)).max(axis=2) > THRESHOLD
    # Padded, so that closing does not erode objects at the picture's edge.
    closed = ndimage.binary_closing(np.pad(differs, CLOSING), iterations=CLOSING)
    regions = ndimage.binary_fill_holes(closed[CLOSING:-CLOSING, CLOSING:-CLOSING])
    areas = _areas(np.asarray(regions), np.ones((3, 3)))
    smallest = max(SMALLEST_OBJECT * areas.max(initial=0), SMALLEST_AREA * differs.size)
    return int((areas >= smallest).sum())


def ground_colour(pixels: np.ndarray) -> np.ndarray:
    """The median colour (3,) of the border of `pixels` (h, w, 3)."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.median(border, axis=0)


def palette(native: Image.Image) -> np.ndarray:
    """The colours of `native`, float32 of shape (n, 3) in [0, 255] with n ≤ COLOURS."""
    cut = native.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=2)
    found = np.asarray(cut.getpalette(), dtype=np.float32).reshape(-1, 3)
    times = np.bincount(np.asarray(cut).ravel(), minlength=len(found))
    kept: list[np.ndarray] = []
    for index in np.argsort(-times, kind="stable")[: np.count_nonzero(times)]:
        if all(np.abs(found[index] - other).sum() >= NEAREST_COLOUR for other in kept):
            kept.append(found[index])
    return np.stack(kept)


def count_parts(image: Image.Image, colours: np.ndarray) -> int:
    """The number of regions of one of `colours` (n, 3) in `image`, with the ground.

    Use the native picture's palette for both pictures. It can't see touching parts of one colour, nor a repetition with
    the same number of parts.
    """
    nearest = np.square(_smooth(image)[:, :, None] - colours).sum(axis=3).argmin(axis=2)
    count = 0
    for colour in range(len(colours)):
        # Opened, because there is a line of a blended colour between two others.
        areas = _areas(ndimage.binary_opening(nearest == colour, iterations=2))
        count += int((areas >= SMALLEST_PART * WORKING_SIZE**2).sum())
    return count


def self_similarity(image: Image.Image) -> float:
    """The largest share, in [0, 1], of the contours' energy that coincides with the picture after a shift.

    The normalised autocorrelation A of the colour contours at a shift s, less the lowest A on the straight way there
    (if above 0), since a straight edge coincides with itself all along. Only local maxima beyond NEAREST_SHIFT count.

    A single object has 0, two equal halves 1/2, sixteen equal copies 3/4. A regular pattern has a value of its own:
    compare with the native picture. It can't see turned, mirrored or unequal copies.
    """
    pixels = _shrunk(image, CONTOUR_SIZE, Image.Resampling.LANCZOS).astype(np.float64) / 255
    fine, coarse = (ndimage.gaussian_filter(pixels, (sigma, sigma, 0)) for sigma in (FINE, COARSE))
    contours = fine - coarse
    energy = float(np.square(contours).sum())
    if energy <= 1e-9 * contours.size:
        return 0.0  # an empty picture
    height, width = contours.shape[:2]
    # Twice the size, so that shifts do not wrap around.
    spectrum = np.fft.rfft2(contours, (2 * height, 2 * width), axes=(0, 1))
    correlation = np.fft.irfft2(np.square(np.abs(spectrum)).sum(axis=2), (2 * height, 2 * width)) / energy
    correlation = np.fft.fftshift(correlation)
    y, x = np.mgrid[-height:height, -width:width]
    peaks = (ndimage.maximum_filter(correlation, size=7) == correlation) & (
        np.hypot(y, x) > NEAREST_SHIFT * min(height, width)
    )
    # A shift and its opposite are equal.
    shifts = np.argwhere(peaks & (x >= 0)) - (height, width)
    if not len(shifts):
        return 0.0
    way = np.linspace(0, 1, _WAY_POINTS)[:, None] * shifts[:, None] + (height, width)
    heights = ndimage.map_coordinates(correlation, way.transpose(2, 0, 1), order=1)
    back = heights[:, -1] - np.maximum(heights.min(axis=1), 0)
    return float(np.clip(back.max(), 0, 1))


def _shrunk(image: Image.Image, short_side: int, resampling: Image.Resampling) -> np.ndarray:
    """The picture with a short side of so many pixels, float32 of shape (h, w, 3)."""
    scale = short_side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.convert("RGB").resize(size, resampling), dtype=np.float32)


def _smooth(image: Image.Image) -> np.ndarray:
    """The picture at WORKING_SIZE without noise; bilinear, since Lanczos' ringing would be a region."""
    return ndimage.gaussian_filter(_shrunk(image, WORKING_SIZE, Image.Resampling.BILINEAR), sigma=(1, 1, 0))


def _areas(regions: np.ndarray, structure: np.ndarray | None = None) -> np.ndarray:
    """The pixels of each connected region of a boolean picture."""
    labels = np.empty(regions.shape, dtype=np.int32)
    ndimage.label(regions, structure, labels)
    return np.bincount(labels.ravel())[1:]
