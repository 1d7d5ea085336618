import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from redilate.evaluation.appearance import structural_similarity
from tests.evaluation.drawings import discs, face, tiled


def test_the_same_picture_at_any_size_is_whole_and_less_of_it_the_more_is_changed():
    native = face(256)
    assert structural_similarity(native, native) == pytest.approx(1)
    others = [face(1024), native.filter(ImageFilter.GaussianBlur(3)), tiled(native, 2)]
    found = [structural_similarity(native, other) for other in others]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.97 > 0.7 > found[-1]


def test_a_wide_picture_is_whole_with_the_object_in_the_middle():
    native = discs(256, 1)
    wide = Image.new("RGB", (768, 256), "white")
    wide.paste(native, (256, 0))
    assert structural_similarity(native, wide) == pytest.approx(1)


def test_it_is_the_papers_equation_with_a_gaussian_window():
    dice = np.random.default_rng(0)
    one, other = (dice.integers(0, 256, (40, 52, 3), dtype=np.uint8) for _ in range(2))

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (1.5, 1.5, 0), mode="mirror", radius=(5, 5, 0))

    first, second = one / 255, other / 255
    product, powers = mean(first) * mean(second), mean(first) ** 2 + mean(second) ** 2
    covariance = mean(first * second) - product
    variances = mean(first**2) + mean(second**2) - powers
    terms = (2 * product + 0.01**2) * (2 * covariance + 0.03**2)
    expected = (terms / ((powers + 0.01**2) * (variances + 0.03**2))).mean()
    found = structural_similarity(Image.fromarray(one), Image.fromarray(other))
    assert found == pytest.approx(expected, abs=1e-10)
