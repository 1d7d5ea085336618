import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchmetrics.functional.image import structural_similarity_index_measure

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


def test_it_is_torchmetrics_own_in_double_precision():
    dice = np.random.default_rng(0)
    one, other = (dice.integers(0, 256, (40, 52, 3), dtype=np.uint8) for _ in range(2))
    tensors = (torch.from_numpy(each).permute(2, 0, 1)[None].double() / 255 for each in (other, one))
    expected = float(structural_similarity_index_measure(*tensors, data_range=1.0))
    assert structural_similarity(Image.fromarray(one), Image.fromarray(other)) == pytest.approx(
        expected, abs=1e-10
    )
