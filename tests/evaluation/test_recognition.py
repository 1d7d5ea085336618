"""Recognition: a picture is told by the reference that it is nearest to."""

import pytest
from PIL import Image, ImageDraw

from redilate.evaluation.features import feature_distance
from redilate.evaluation.recognition import distances, ranks


def _drawn(shape: str, colour: str, width: int = 128, height: int = 128) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left + side // 5, top + side // 5, left + side * 4 // 5, top + side * 4 // 5)
    getattr(ImageDraw.Draw(image), shape)(box, fill=colour)
    return image


REFERENCES = [_drawn("ellipse", "red"), _drawn("rectangle", "blue"), _drawn("ellipse", "green")]


@pytest.mark.parametrize("size", [(256, 256), (512, 256)])
def test_larger_drawings_of_the_same_things_are_recognised(size):
    larger = [
        _drawn("ellipse", "red", *size),
        _drawn("rectangle", "blue", *size),
        _drawn("ellipse", "green", *size),
    ]
    assert ranks(larger, REFERENCES) == [0, 0, 0]


def test_a_picture_of_something_else_is_not_recognised():
    assert ranks([_drawn("rectangle", "blue"), REFERENCES[1], REFERENCES[2]], REFERENCES)[0] > 0


def test_the_distances_are_the_feature_distances():
    pictures = [_drawn("ellipse", "red", 384, 256), _drawn("rectangle", "green", 384, 256)]
    between = distances(pictures, REFERENCES)
    assert between.shape == (2, 3)
    for row, picture in enumerate(pictures):
        for column, reference in enumerate(REFERENCES):
            assert between[row, column].item() == pytest.approx(
                feature_distance(reference, picture), abs=1e-5
            )
