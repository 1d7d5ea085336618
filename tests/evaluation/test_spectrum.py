import numpy as np
import pytest
from PIL import Image, ImageFilter

from redilate.evaluation.appearance import grid_energy, sharpness
from tests.evaluation.drawings import discs, face, noisy


def _with_grid(image: Image.Image, period: tuple[float, float], height: float) -> Image.Image:
    """`image` with a lattice of dots, `period` pixels apart, `height` of 255 high."""
    y, x = np.mgrid[: image.height, : image.width]
    dots = (y % period[0] < 2) & (x % period[1] < 2)
    return Image.fromarray(np.clip(np.asarray(image) - height * dots[..., None], 0, 255).astype(np.uint8))


def test_enlarging_and_blur_lose_sharpness_and_noise_adds_it():
    true, enlarged = face(1024), face(256).resize((1024, 1024), Image.Resampling.LANCZOS)
    blurred = true.filter(ImageFilter.GaussianBlur(2))
    assert sharpness(enlarged) < sharpness(true) - 6
    assert sharpness(blurred) < sharpness(true) - 6
    assert sharpness(noisy(true, 12)) > sharpness(true) + 6


def test_white_noise_has_its_share_of_the_plane_and_a_blank_picture_none():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8))
    # The octave is the ring between radius 1/4 and 1/2 of a square of side 1: pi / 4 - pi / 16 of it.
    assert sharpness(noise) == pytest.approx(10 * np.log10(np.pi * 3 / 16), abs=0.1)
    assert sharpness(Image.new("L", (64, 64), 200)) == -120


@pytest.mark.parametrize(
    ("ratio", "size"), [((2, 2), (512, 512)), ((2, 4), (1024, 512)), ((1.5, 2.5), (640, 384))]
)
def test_a_grid_of_the_dilation_stands_out(ratio, size):
    plain = noisy(discs(max(size), 1).crop((0, 0, *size)), 4)
    period = (8 * ratio[0], 8 * ratio[1])
    grid = _with_grid(plain, period, height=24)
    assert abs(grid_energy(plain, period)) < 1
    assert grid_energy(grid, period) > grid_energy(plain, period) + 4


def test_a_fainter_grid_stands_out_less():
    plain = noisy(face(512), 4)
    found = [grid_energy(_with_grid(plain, (16, 16), height), (16, 16)) for height in (0, 8, 16, 32)]
    assert found == sorted(found)


def test_a_grid_of_another_period_and_plain_drawings_do_not_fool_it():
    plain = noisy(face(512), 4)
    other = _with_grid(plain, (13, 13), height=24)
    assert grid_energy(other, (16, 16)) < 1
    assert abs(grid_energy(noisy(discs(1024, 5), 4), (32, 32))) < 1
    assert grid_energy(Image.new("RGB", (512, 512), "white"), (16, 16)) == 0
