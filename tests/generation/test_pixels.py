"""A picture's colours are kept as asked: as drawn, by mean and deviation, or by what changes slowly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from redilate.generation.pixels import keep_colour, to_image, to_tensor


def smooth(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """A picture of slow changes, in middle tones: nothing of it is clipped."""
    coarse = np.random.default_rng(seed).integers(90, 160, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def mean(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float).mean((0, 1))


def shifted(image: Image.Image) -> Image.Image:
    """As an autoencoder shifts a photograph's colours: by up to 20 levels, differently for each channel."""
    return Image.fromarray(
        (np.asarray(image).astype(int) + np.array([20, -15, 10])).clip(0, 255).astype(np.uint8)
    )


def test_pixels_to_tensor_and_back_is_the_identity():
    image = smooth(0)
    assert to_tensor(image).shape == (1, 3, 64, 96)
    assert to_image(to_tensor(image)).tobytes() == image.tobytes()


def test_as_drawn_is_the_identity():
    image = smooth(0)
    assert keep_colour(image, smooth(1), "as-drawn") is image


@pytest.mark.parametrize("how", ["moments", "low"])
@pytest.mark.parametrize("size", [(96, 64), (192, 128), (200, 136)])
def test_a_shift_is_taken_back_at_any_size(how, size):
    before = smooth(0)
    drawn = shifted(before.resize(size, Image.Resampling.LANCZOS))
    assert abs(mean(drawn) - mean(before)).max() > 9
    assert abs(mean(keep_colour(drawn, before, how)) - mean(before)).max() < 1


def test_moments_give_the_mean_and_the_deviation_of_each_channel():
    found = np.asarray(keep_colour(smooth(0), smooth(1), "moments"), dtype=float)
    wanted = np.asarray(smooth(1), dtype=float)
    assert abs(found.mean((0, 1)) - wanted.mean((0, 1))).max() < 0.6
    assert abs(found.std((0, 1)) - wanted.std((0, 1))).max() < 0.6


def test_low_keeps_what_changes_fast_and_takes_what_changes_slowly():
    fine = np.indices((64, 96)).sum(0) % 2 * 20 - 10  # a chequerboard, the fastest there is
    drawn = Image.fromarray((np.asarray(shifted(smooth(0))).astype(int) + fine[..., None]).astype(np.uint8))
    found = np.asarray(keep_colour(drawn, smooth(1), "low"), dtype=float)
    rest = found - np.asarray(smooth(1), dtype=float)
    assert np.corrcoef(rest[..., 0].ravel(), fine.ravel())[0, 1] > 0.9


def test_a_flat_channel_and_a_grey_picture_give_numbers():
    flat = Image.new("RGB", (32, 32), (100, 100, 100))
    for how in ("moments", "low"):
        assert (
            abs(mean(keep_colour(flat, Image.new("RGB", (16, 16), (120, 90, 30)), how)) - (120, 90, 30)).max()
            < 1
        )
        assert keep_colour(flat, Image.new("L", (16, 16), 50), how).getpixel((5, 5)) == (50, 50, 50)
