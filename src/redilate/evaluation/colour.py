"""How far a large picture's colours have drifted from the native one's."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

_TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def colour_drift(native: Image.Image, large: Image.Image) -> float:
    """The distance ΔE (CIE 1976) between the mean L*a*b* colours of two pictures; about 2 is just seen.

    It is of the picture as a whole: colours that changed places leave it at 0. The more of a picture is ground, the
    smaller it is.
    """
    return float(np.linalg.norm(mean_lab(large) - mean_lab(native)))


def mean_lab(image: Image.Image) -> np.ndarray:
    """The mean L* in [0, 100], a* and b* in [-128, 127] of an sRGB picture; shape (3,)."""
    lab = ImageCms.applyTransform(image.convert("RGB"), _TO_LAB)
    assert lab is not None  # it is where the transform is not in place
    lightness, green_red, blue_yellow = (np.asarray(band) for band in lab.split())
    # A byte each: L* over the whole range, a* and b* with 128 for 0.
    return np.array([lightness.mean() * 100 / 255, green_red.mean() - 128, blue_yellow.mean() - 128])
