import pytest
from PIL import Image, ImageFilter

from redilate.evaluation.structure import structural_similarity
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
