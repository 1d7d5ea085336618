import numpy as np
import pytest
from PIL import Image

from redilate.evaluation.cost import Cost
from redilate.evaluation.features import CROPS
from redilate.evaluation.measures import (
    GROUPS,
    OF_ONE_PICTURE,
    enlarged,
    is_broken_up,
    measure_picture,
    with_cost,
)
from redilate.evaluation.repetition import count_objects
from tests.evaluation.drawings import discs, face, tiled


def test_copies_are_told_by_every_measure_of_repetition():
    native = face(256)
    same, copies = (
        measure_picture(native, large, scale=8, seed=0).values for large in (face(512), tiled(face(512), 2))
    )
    assert (same["objects"], same["repeated"], same["same_count"]) == (1, 0, 1)
    assert (copies["objects"], copies["repeated"], copies["same_count"]) == (4, 1, 0)
    assert copies["parts"] > same["parts"]
    assert is_broken_up(copies, same) and not is_broken_up(same, same)
    assert copies["self_similarity"] > same["self_similarity"] + 0.3
    assert copies["feature_distance"] > 0.5 > 0.1 > same["feature_distance"]
    assert copies["ssim"] < 0.8 < 0.95 < same["ssim"]


def test_each_measure_of_a_picture_has_a_value_and_every_key_is_its_own():
    seen = measure_picture(discs(64, 1), discs(128, 1), scale=8, seed=0)
    values = with_cost(seen, Cost(seconds=1.5, memory=100.0, evaluations=4))
    # These two take other pictures: `run.measure_all` adds them.
    assert {*values, "recognised", "broken_up"} == {measure.key for measure in OF_ONE_PICTURE}
    assert (values["seconds"], values["memory"], values["evaluations"]) == (1.5, 100.0, 4.0)
    keys = [measure.key for group in GROUPS.values() for measure in group]
    assert len(keys) == len(set(keys))
    assert seen.features.shape == (1 + CROPS, 1280)


@pytest.mark.parametrize("size", [(512, 512), (768, 256), (256, 640)])
def test_the_native_picture_enlarged_is_itself_on_its_own_ground(size):
    native = discs(256, 1, colour="white", ground="slateblue")
    large = enlarged(native, size)
    assert large.size == size
    assert count_objects(large) == 1
    assert np.ptp(np.asarray(large)[0], axis=0).max() == 0
    assert large.getpixel((0, 0)) == Image.new("RGB", (1, 1), "slateblue").getpixel((0, 0))
