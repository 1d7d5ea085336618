import numpy as np
from PIL import Image

from redilate.evaluation.features import CROPS, crops


def test_crops_lie_where_the_seed_says_and_elsewhere_for_another():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 1024, 3), dtype=np.uint8))
    first, again, other = (crops(image, (256, 256), seed) for seed in (3, 3, 4))
    assert len(first) == CROPS
    assert {crop.size for crop in first} == {(256, 256)}
    assert [crop.tobytes() for crop in first] == [crop.tobytes() for crop in again]
    assert not {crop.tobytes() for crop in first} & {crop.tobytes() for crop in other}


def test_crops_are_pieces_at_full_resolution():
    y, x = np.mgrid[:200, :200].astype(np.uint8)
    for crop in crops(Image.fromarray(np.stack([x, y, x], axis=2)), (64, 64), 0):
        pixels = np.asarray(crop)
        left, top, _ = pixels[0, 0]
        assert np.array_equal(pixels[..., 0], np.tile(np.arange(left, left + 64), (64, 1)))
        assert np.array_equal(pixels[..., 1], np.tile(np.arange(top, top + 64)[:, None], (1, 64)))


def test_a_side_shorter_than_the_crop_is_taken_whole():
    image = Image.new("RGB", (300, 100))
    assert {crop.size for crop in crops(image, (256, 256), 0)} == {(256, 100)}
