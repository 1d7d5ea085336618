import numpy as np
import pytest
from PIL import Image

from redilate.evaluation.appearance import colour_drift, mean_lab
from tests.evaluation.drawings import face


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        # CIE L*a*b* of sRGB primaries under D50, as Bruce Lindbloom's calculator gives them.
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (54.3, 80.8, 69.9)),
        ((0, 255, 0), (87.8, -79.3, 81.0)),
        ((0, 0, 255), (29.6, 68.3, -112.0)),
        ((119, 119, 119), (50.0, 0, 0)),
    ],
)
def test_known_colours_have_their_lab_values(colour, lab):
    assert mean_lab(Image.new("RGB", (4, 4), colour)) == pytest.approx(lab, abs=1)


def test_a_tint_is_a_drift_and_size_or_place_is_none():
    native = face(256)
    assert colour_drift(native, native) == 0
    assert colour_drift(native, face(1024)) < 0.2
    assert colour_drift(native, native.transpose(Image.Transpose.ROTATE_90)) == 0
    tinted = Image.fromarray((np.asarray(native) * [1, 0.9, 0.8]).astype(np.uint8))
    assert colour_drift(native, tinted) > 5
