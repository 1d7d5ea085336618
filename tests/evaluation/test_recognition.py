"""Recognition: a picture is told by the reference that it is nearest to."""

import pytest
from PIL import Image, ImageDraw

from redilate.evaluation.features import Gallery, feature_distance


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
    gallery = Gallery(REFERENCES, size)
    drawn = [("ellipse", "red"), ("rectangle", "blue"), ("ellipse", "green")]
    assert [gallery.nearest(_drawn(*one, *size)) for one in drawn] == [0, 1, 2]


def test_a_picture_of_something_else_is_told_by_what_it_is_like():
    assert Gallery(REFERENCES, (192, 192)).nearest(_drawn("rectangle", "darkblue", 192, 192)) == 1


def test_the_distances_are_the_feature_distances():
    picture = _drawn("rectangle", "green", 384, 256)
    found = Gallery(REFERENCES, picture.size).distances(picture)
    expected = [feature_distance(reference, picture) for reference in REFERENCES]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
