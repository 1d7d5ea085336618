"""What "auto" comes to, and that it is the mode it says."""

import numpy as np
import pytest

import redilate
from redilate import RedilateError, Relay
from redilate.generation.modes import find_runner, is_ahead, mode_for
from redilate.pipelines.native import ratio_to_native
from tests.models import tiny_sdxl


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def times(size):
    return ratio_to_native(size, (256, 256), buckets=False)


def draw(pipe, width=512, height=384, **changes):
    made = redilate.generate(pipe, "apple", width=width, height=height, steps=2, **changes)
    return made.settings["mode"], np.asarray(made.images[0])


def test_a_large_picture_is_a_relay_bit_for_bit(pipe):
    mode, picture = draw(pipe)
    assert mode == mode_for(pipe, 512, 384) == "relay"
    assert (picture == draw(pipe, mode="relay")[1]).all()
    assert (picture != draw(pipe, mode="single")[1]).any()


@pytest.mark.parametrize(
    "changes", [{"width": 256, "height": 256}, {"width": 512, "height": 256}, {"method": "direct"}], ids=str
)
def test_a_small_picture_and_direct_inference_are_single_stages_bit_for_bit(pipe, changes):
    mode, picture = draw(pipe, **changes)
    assert mode == "single" and (picture == draw(pipe, mode="single", **changes)[1]).all()


@pytest.mark.parametrize("size", [(384, 256), (320, 320), (1024, 256), (256, 1024)], ids=str)
def test_the_bound_is_an_area_which_is_larger_in_other_ratios(size):
    assert is_ahead(times(size), "redilate") and not is_ahead(times(size), "direct")
    smaller = (size[0] - 8, size[1]) if size != (320, 320) else (312, 312)
    assert not is_ahead(times(smaller), "redilate")


def test_wide_pictures_of_few_times_the_area_are_one_stage():
    assert not any(is_ahead(times(size), "redilate") for size in ((512, 256), (768, 256)))


def test_of_a_model_that_knows_many_shapes_they_are_native_ratios():
    wide = ratio_to_native((1536, 2688), (1024, 1024), buckets=True)
    assert is_ahead(wide, "redilate")
    assert not is_ahead(ratio_to_native((1536, 2688), (1024, 1024), buckets=False), "redilate")
    assert not is_ahead(
        ratio_to_native((1024, 1344), (1024, 1024), buckets=True), "redilate"
    )  # 1.3 times the area


def test_who_says_what_is_done_at_full_size_gets_one_stage(pipe):
    plan = redilate.plan_for(pipe, width=512, height=384)
    assert draw(pipe, plan=plan)[0] == "single"
    with redilate.apply(pipe, plan):
        assert draw(pipe)[0] == mode_for(pipe, 512, 384) == "single"
    assert draw(pipe)[0] == "relay"


def test_the_settings_of_a_relay_ask_for_one(pipe):
    assert draw(pipe, width=280, height=280, relay=Relay())[0] == "relay"
    assert draw(pipe, method="direct", relay=Relay())[0] == "relay"


def test_a_pipeline_that_cannot_do_a_relay_draws_in_one_stage_and_says_why_if_asked(pipe, monkeypatch):
    def none(_pipe):
        raise RedilateError("no image-to-image pipeline for it")

    monkeypatch.setattr("redilate.generation.relay.image_to_image", none)
    assert mode_for(pipe, 512, 384) == "single" and draw(pipe)[0] == "single"
    with pytest.raises(RedilateError, match="no image-to-image pipeline for it"):
        draw(pipe, mode="relay")
    with pytest.raises(RedilateError, match="no image-to-image pipeline for it"):
        draw(pipe, relay=Relay())


@pytest.mark.parametrize(
    ("extra", "relayed"), [({"clip_skip": 1}, True), ({"callback": print}, False), ({"latents": None}, False)]
)
def test_arguments_that_only_one_stage_can_follow_get_one(pipe, extra, relayed):
    runner = find_runner(pipe, "auto", (384, 512), steps=2, guidance=3, extra=extra)
    assert (runner is not None) is relayed
