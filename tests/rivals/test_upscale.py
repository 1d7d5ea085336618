"""Native size and enlarged: the size that is drawn, the enlargement, the real networks."""

import pytest
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.generation.super_resolution import enlarged_by
from redilate.rivals.registry import find
from redilate.rivals.upscale import by_lanczos, by_network
from tests.marks import needs_real_esrgan
from tests.models import tiny_sdxl


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_what_is_enlarged_is_the_native_picture_that_the_default_enlarges(pipe):
    asked = {"width": 152, "height": 72, "seed": 2, "steps": 2, "native_size": 64}
    made = by_lanczos(pipe, "apple", **asked)
    legs = redilate.resolve(pipe, redilate.Request("apple", **asked)).legs
    assert made.settings["parameters"] == {"drawn": f"{legs[0].width}x{legs[0].height}"}


def test_a_size_below_the_native_area_is_drawn_as_it_is(pipe):
    made = by_lanczos(pipe, "apple", width=56, height=40, seed=2, steps=2, native_size=64)
    assert made.settings["parameters"] == {"drawn": "56x40"}


def test_lanczos_is_the_native_picture_resized(pipe):
    made = by_lanczos(pipe, "apple", width=128, height=128, seed=2, steps=2, native_size=64)
    native = redilate.generate(
        pipe, "apple", width=64, height=64, seed=2, steps=2, method="direct", native_size=64
    )
    expected = native.images[0].resize((128, 128), Image.Resampling.LANCZOS)
    assert made.images[0].tobytes() == expected.tobytes()
    assert made.settings["width"] == 128 and made.settings["parameters"] == {"drawn": "64x64"}


@needs_real_esrgan
def test_the_video_network_is_recorded_by_its_name_and_found_by_it(pipe):
    usual = {"width": 128, "height": 128, "seed": 2, "steps": 2, "native_size": 64}
    made = find("upscale_animevideo")(pipe, "apple", **usual)
    native = by_lanczos(pipe, "apple", **usual | {"width": 64, "height": 64}).images[0]
    expected = enlarged_by("realesr-animevideov3", native, (128, 128))
    assert made.images[0].tobytes() == expected.tobytes()
    assert made.settings["method"] == "upscale_animevideo"


@pytest.mark.parametrize("name", ["upscale_esrgan", "upscale_animevideo"])
def test_a_network_that_is_not_there_is_missed_before_anything_is_drawn(name, pipe, monkeypatch):
    drawn = []
    monkeypatch.setattr(type(pipe), "__call__", lambda *args, **kwargs: drawn.append(args))
    with pytest.raises(RedilateError, match="swinir"):
        by_network(pipe, "apple", model="swinir", width=128, height=128, native_size=64)
    monkeypatch.setattr("redilate.generation.super_resolution.find_spec", lambda name: None)
    with pytest.raises(RedilateError, match=r"pip install 'redilate\[upscale\]'"):
        find(name)(pipe, "apple", width=128, height=128, native_size=64)
    assert drawn == []


@pytest.mark.parametrize("method", [by_lanczos, pytest.param(by_network, marks=needs_real_esrgan)])
def test_at_the_native_size_it_is_plain_inference(pipe, method):
    made = method(pipe, "apple", width=64, height=56, steps=1, native_size=64)
    plain = redilate.generate(pipe, "apple", width=64, height=56, steps=1, method="direct", native_size=64)
    assert made.images[0].tobytes() == plain.images[0].tobytes()
