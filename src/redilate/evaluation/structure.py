"""How much of the native picture's structure a large picture keeps, pixel by pixel."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from .features import side_by_side

# Of Wang et al.: the window's deviation, and a constant for each term of pixels in [0, 1].
_DEVIATION, _RADIUS = 1.5, 5
_OF_MEANS, _OF_VARIANCES = 0.01**2, 0.03**2


def structural_similarity(native: Image.Image, large: Image.Image) -> float:
    """SSIM (Wang et al. 2004) of `large`, shrunk to the native scale, with `native`: 1 for equal pictures, at most 1.

    It asks for every contour in its place: another sound drawing of the same thing has a low one, and a ground that
    both share raises it. See side_by_side for how pictures of other ratios are brought together.
    """
    one, other = (
        # Double precision: in single a flat ground differs from itself.
        np.asarray(image.convert("RGB"), np.float64) / 255
        for image in side_by_side(native, large)
    )
    means = _mean(one), _mean(other)
    product = means[0] * means[1]
    powers = means[0] ** 2 + means[1] ** 2
    covariance = _mean(one * other) - product
    variances = _mean(one**2) + _mean(other**2) - powers
    found = (2 * product + _OF_MEANS) * (2 * covariance + _OF_VARIANCES)
    found /= (powers + _OF_MEANS) * (variances + _OF_VARIANCES)
    return float(found.mean())


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of each pixel's window, weighted by a Gaussian."""
    return gaussian_filter(values, (_DEVIATION, _DEVIATION, 0), mode="mirror", radius=(_RADIUS, _RADIUS, 0))
