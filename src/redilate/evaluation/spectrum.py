"""What a picture's spectrum says: how sharp it is, and whether a dilated convolution left its grid in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Cycles per pixel: the highest octave, where an enlarged smaller picture has nothing.
TOP_OCTAVE = (0.25, 0.5)
# Frequency bins beside one of the grid's: the Hann window spreads a line over ±2, and beyond 8 the spectrum slopes.
_BESIDE = range(3, 9)
_LINE = range(-1, 2)


def sharpness(image: Image.Image) -> float:
    """The share of the luminance's variance that lies in the highest octave, in dB; at most 0.

    Below a real picture of the same kind and size it is blur, above it noise or too many edges: it can't tell those
    two apart. A picture without any contrast has -120.
    """
    power = _power(image)
    vertical = np.fft.fftfreq(power.shape[0])[:, None]
    radius = np.hypot(vertical, np.fft.rfftfreq(image.width)[None])
    low, high = TOP_OCTAVE
    share = power[(radius >= low) & (radius < high)].sum() / max(power.sum(), 1e-12)
    return float(10 * np.log10(max(share, 1e-12)))


def grid_energy(image: Image.Image, period: tuple[float, float]) -> float:
    """How far the frequencies of a grid stand out of their surroundings, in dB: about 0 where there is none.

    A convolution dilated d times works on d separate lattices; where they disagree, a pattern of d latents appears,
    d · f pixels. Its frequencies are the multiples of 1 / (d · f) along each axis. The mean over them of each one's
    power over the median of the bins around it.

    Args:
        image: at full resolution.
        period: (vertical, horizontal) of the grid, in pixels: dilation times the latent scale.

    What it can't see: a grid of another period, and whether a regular pattern is an artefact or was asked for.
    """
    power = _power(image)
    # rfft2 keeps half of the horizontal frequencies; the half that is left out has the same sums.
    spectra = (power.sum(axis=1)[: image.height // 2 + 1], power.sum(axis=0))
    sides = (image.height, image.width)
    found = [
        _standing_out(spectrum, side / one)
        for spectrum, side, one in zip(spectra, sides, period, strict=True)
    ]
    levels = np.concatenate(found)
    return float(levels.mean()) if levels.size else 0.0


def _standing_out(spectrum: np.ndarray, step: float) -> np.ndarray:
    """Of every multiple of `step` bins whose surroundings lie in `spectrum`, its height over them in dB."""
    reach = max(_BESIDE)
    lines = np.arange(step, len(spectrum) - 1 - reach, step).round().astype(int)
    lines = lines[lines > reach]
    line = np.mean([spectrum[lines + offset] for offset in _LINE], axis=0)
    beside = np.median([spectrum[lines + sign * offset] for sign in (-1, 1) for offset in _BESIDE], axis=0)
    # The floor keeps rounding noise of a flat picture from standing out.
    floor = 1e-10 * max(float(spectrum.sum()), 1.0)
    return 10 * np.log10((line + floor) / (beside + floor))


def _power(image: Image.Image) -> np.ndarray:
    """The power spectrum, of shape (h, w // 2 + 1), of the luminance without its mean, under a Hann window."""
    luminance = np.asarray(image.convert("L"), dtype=np.float64) / 255
    window = np.hanning(image.height)[:, None] * np.hanning(image.width)[None]
    return np.square(np.abs(np.fft.rfft2((luminance - luminance.mean()) * window)))
