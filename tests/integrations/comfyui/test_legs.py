"""The legs of the one node, against those that `resolve` has for the same request."""

import pytest

from integrations.comfyui.draw import legs_for, target_size
from redilate import RedilateError, Request, resolve
from tests.models import tiny_sd15

NATIVE = 128


def legs(target, start=None, strength=0.45, steps=25, largest=2.0):
    return legs_for(
        "sd15",
        NATIVE,
        target=target,
        start=start,
        strength=strength,
        steps=steps,
        largest_scale=largest,
        unit=64,
    )


@pytest.mark.parametrize("size", [(256, 256), (384, 256), (512, 512), (136, 128)])
@pytest.mark.parametrize("strength", [0.3, 0.45, 0.7, 1.0])
def test_they_are_those_of_generate(size, strength):
    request = Request("x", height=size[0], width=size[1], native_size=NATIVE, strength=strength, steps=20)
    theirs = [(leg.width, leg.height, leg.steps) for leg in resolve(tiny_sd15(), request).legs]
    assert [(leg.width, leg.height, leg.steps) for leg in legs(size, strength=strength, steps=20)] == theirs


def test_a_picture_is_enlarged_in_legs_that_at_most_double_it():
    found = legs((512, 512), start=(128, 128))
    assert [(leg.width, leg.steps) for leg in found] == [(256, 11), (512, 8)]
    assert [leg.start for leg in found] == [0.45, pytest.approx(0.315)]
    assert [leg.width for leg in legs((512, 512), start=(128, 128), largest=4.0)] == [512]


def test_sides_follow_from_each_other_or_from_the_scale():
    assert target_size((100, 200), 0, 0, 2.0) == (200, 400)
    assert target_size((128, 256), 512, 0, 9.0) == (256, 512)
    assert target_size((128, 256), 0, 64, 9.0) == (64, 128)
    assert target_size((128, 256), 320, 640, 9.0) == (640, 320)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(RedilateError, match="width is 100; a multiple of 8 works"):
        target_size((128, 128), 100, 0, 2.0)
    with pytest.raises(RedilateError, match="the picture is 256x256 and 128x128 was asked for"):
        legs((128, 128), start=(256, 256))
