"""How well a picture fits on itself when it is shifted: repeated parts that hang together, which no count parts.

The contours of a single object lie on themselves again at no shift; of two equal halves, half of the contours do, of
sixteen equal copies three quarters. Objects that repeat something by nature (a dotted cookie, two eyes) have a share
of their own: compare a large picture with the native one of the same prompt and seed.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

WORKING_SIZE = 128  # pixels of the short side
FINE, COARSE = 1.0, 4.0  # pixels: deviations of the two Gaussians whose difference is a contour
NEAREST_SHIFT = 0.08  # of the short side: what fits on itself at less is one contour, not two parts
_WAY_POINTS = 48  # looked at between the origin and a shift


def self_similarity(image: Image.Image) -> float:
    """The largest share, in [0, 1], of the contours' energy that a shift brings back onto the picture.

    The autocorrelation A of the colour contours over its value at the origin. At a shift s it counts as A(s) less
    the lowest A on the straight way there, if that is above 0: a straight edge fits on itself along its whole length
    and never leaves, a repeated part has to come back. Only local maxima further off than NEAREST_SHIFT count.

    It sees copies of equal size and direction, and not turned, mirrored or unequal ones.
    """
    contours = _contours(image)
    energy = float(np.square(contours).sum())
    if energy <= 1e-9 * contours.size:
        return 0.0  # an empty picture
    height, width = contours.shape[:2]
    # Twice the size, so that what leaves on one side does not come in on the other.
    spectrum = np.fft.rfft2(contours, (2 * height, 2 * width), axes=(0, 1))
    correlation = np.fft.irfft2(np.square(np.abs(spectrum)).sum(axis=2), (2 * height, 2 * width)) / energy
    correlation = np.fft.fftshift(correlation)
    y, x = np.mgrid[-height:height, -width:width]
    peaks = (ndimage.maximum_filter(correlation, size=7) == correlation) & (
        np.hypot(y, x) > NEAREST_SHIFT * min(height, width)
    )
    # A shift and its opposite fit equally well.
    shifts = np.argwhere(peaks & (x >= 0)) - (height, width)
    if not len(shifts):
        return 0.0
    way = np.linspace(0, 1, _WAY_POINTS)[:, None] * shifts[:, None] + (height, width)
    heights = ndimage.map_coordinates(correlation, way.transpose(2, 0, 1), order=1)
    back = heights[:, -1] - np.maximum(heights.min(axis=1), 0)
    return float(np.clip(back.max(), 0, 1))


def _contours(image: Image.Image) -> np.ndarray:
    """The picture at WORKING_SIZE as a difference of Gaussians, float64 of shape (h, w, 3)."""
    scale = WORKING_SIZE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    shrunk = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(shrunk, dtype=np.float64) / 255
    return ndimage.gaussian_filter(pixels, (FINE, FINE, 0)) - ndimage.gaussian_filter(
        pixels, (COARSE, COARSE, 0)
    )
