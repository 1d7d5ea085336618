"""Measures of a picture's structure, colours, sharpness, and of a dilation's grid in it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms
from scipy.ndimage import gaussian_filter

from .features import side_by_side

_TO_LAB = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
# SSIM's published window deviation, and its constants for pixels in [0, 1].
_DEVIATION, _RADIUS = 1.5, 5
_OF_MEANS, _OF_VARIANCES = 0.01**2, 0.03**2
# Cycles per pixel: the highest octave, which an enlarged picture lacks.
TOP_OCTAVE = (0.25, 0.5)
_LINE = (-1, 0, 1)  # bins of a line under the Hann window
_BESIDE = range(3, 9)  # bins beside it, on both sides


def structural_similarity(native: Image.Image, large: Image.Image) -> float:
    """SSIM (Wang et al. 2004) of `large`, shrunk to the native scale, with `native`: at most 1, for equal pictures.

    Another good drawing of the same thing has a low value, and a common ground raises it.
    """
    one, other = (
        # Double precision: in single precision a flat ground differs from itself.
        np.asarray(image.convert("RGB"), np.float64) / 255
        for image in side_by_side(native, large)
    )
    means = _windowed(one), _windowed(other)
    product, powers = means[0] * means[1], means[0] ** 2 + means[1] ** 2
    covariance = _windowed(one * other) - product
    variances = _windowed(one**2) + _windowed(other**2) - powers
    found = (2 * product + _OF_MEANS) * (2 * covariance + _OF_VARIANCES)
    return float((found / (powers + _OF_MEANS) / (variances + _OF_VARIANCES)).mean())


def _windowed(values: np.ndarray) -> np.ndarray:
    """The mean over each pixel's window, weighted by a Gaussian."""
    return gaussian_filter(values, (_DEVIATION, _DEVIATION, 0), mode="mirror", radius=(_RADIUS, _RADIUS, 0))


def colour_drift(native: Image.Image, large: Image.Image) -> float:
    """The distance ΔE (CIE 1976) between the mean L*a*b* colours of two pictures; about 2 is just visible.

    It can't see colours that changed places, and it is smaller for pictures with more ground.
    """
    return float(np.linalg.norm(mean_lab(large) - mean_lab(native)))


def mean_lab(image: Image.Image) -> np.ndarray:
    """The mean L* in [0, 100], a* and b* in [-128, 127] of an sRGB picture; shape (3,)."""
    lab = ImageCms.applyTransform(image.convert("RGB"), _TO_LAB)
    assert lab is not None  # it is where the transform is not in place
    lightness, green_red, blue_yellow = (np.asarray(band).mean() for band in lab.split())
    # Bytes: L* over the whole range, a* and b* with 128 for 0.
    return np.array([lightness * 100 / 255, green_red - 128, blue_yellow - 128])


def sharpness(image: Image.Image) -> float:
    """The highest octave's share of the luminance's variance, in dB: at most 0, -120 for a picture without contrast.

    Less than a real picture of the same kind and size is blur, more is noise or too many edges: it can't tell which.
    """
    power = _power(image)
    vertical = np.fft.fftfreq(power.shape[0])[:, None]
    radius = np.hypot(vertical, np.fft.fftfreq(image.width)[None])
    low, high = TOP_OCTAVE
    share = power[(radius >= low) & (radius < high)].sum() / max(power.sum(), 1e-12)
    return float(10 * np.log10(max(share, 1e-12)))


def grid_energy(image: Image.Image, period: tuple[float, float]) -> float:
    """How far a grid's frequencies are above those around them, in dB; about 0 without a grid.

    A convolution dilated d times works on d² separate lattices. If they disagree, a pattern appears with a `period`
    (vertical, horizontal) of d latents, in pixels, and frequencies at the multiples of 1 / period. For each frequency:
    the mean level of its bins less that of the bins around it (on an axis only those along the axis, where straight
    edges have a ridge), averaged. It can't see a grid of another period, nor whether the pattern was asked for.
    """
    power = _power(image)
    height, width = power.shape
    # Bins with only rounding errors get one level.
    level = 10 * np.log10(power + 1e-12 * max(float(power.max()), 1.0))
    steps = (height / period[0], width / period[1])
    beside = [offset for offset in _BESIDE if offset <= min(steps) / 2]
    both_sides = [*beside, *(-offset for offset in beside)]
    along_y = [(offset, across) for offset in both_sides for across in _LINE]
    along_x = [(across, offset) for offset in both_sides for across in _LINE]
    line = [(y, x) for y in _LINE for x in _LINE]
    heights = []
    # Half of the plane, since a real picture's spectrum is symmetric.
    for row in range(-int(period[0] / 2), int(period[0] / 2) + 1):
        for column in range(int(period[1] / 2) + 1):
            if column == 0 and row <= 0:
                continue
            around = along_y if column == 0 else along_x if row == 0 else along_y + along_x
            place = (round(row * steps[0]), round(column * steps[1]))
            heights.append(_mean(level, place, line) - _mean(level, place, around))
    return float(np.mean(heights)) if heights and beside else 0.0


def _mean(level: np.ndarray, place: tuple[int, int], offsets: list[tuple[int, int]]) -> float:
    y, x = (np.array(offsets) + place).T
    return float(level[y % level.shape[0], x % level.shape[1]].mean())


def _power(image: Image.Image) -> np.ndarray:
    """The power spectrum, of shape (h, w), of the luminance without its mean, under a Hann window."""
    luminance = np.asarray(image.convert("L"), dtype=np.float64) / 255
    window = np.hanning(image.height)[:, None] * np.hanning(image.width)[None]
    return np.square(np.abs(np.fft.fft2((luminance - luminance.mean()) * window)))
