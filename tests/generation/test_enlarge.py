"""`enlarge`: any picture, any size and ratio, exactly as large as asked."""

import numpy as np
import pytest
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.core.patch import find_patch
from tests.models import tiny_sdxl


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def photo(width, height):
    return Image.radial_gradient("L").convert("RGB").resize((width, height))


def enlarge(pipe, image, **changes):
    return redilate.enlarge(pipe, image, **{"steps": 2} | changes)


@pytest.mark.parametrize(
    ("size", "asked", "result"),
    [
        ((101, 67), {"scale": 3}, (303, 201)),
        ((300, 200), {"scale": 1.1}, (330, 220)),
        ((100, 75), {"width": 321}, (321, 241)),
        ((100, 75), {"height": 300}, (400, 300)),
        ((100, 75), {"width": 200, "height": 151}, (200, 151)),
        ((24, 24), {"scale": 2}, (48, 48)),
    ],
    ids=str,
)
def test_the_result_has_exactly_the_size_asked_for(pipe, size, asked, result):
    made = enlarge(pipe, photo(*size), **asked)
    assert made.images[0].size == result == (made.settings["width"], made.settings["height"])
    assert made.settings["enlarged_from"] == list(size) and find_patch(pipe.unet) is None


def test_nothing_is_stretched_or_moved_by_sides_that_are_no_multiples_of_eight(pipe):
    """What the first leg is handed, against the plain enlargement of the picture."""
    handed = []
    preprocess = pipe.image_processor.preprocess

    def watch(image, *args, **kwargs):
        if isinstance(image, Image.Image):
            handed.append(image)
        return preprocess(image, *args, **kwargs)

    from diffusers.image_processor import VaeImageProcessor

    original = VaeImageProcessor.preprocess
    VaeImageProcessor.preprocess = lambda self, image, *args, **kwargs: watch(image, *args, **kwargs)
    try:
        enlarge(pipe, photo(101, 67), scale=3)
    finally:
        VaeImageProcessor.preprocess = original
    assert handed[0].size == (304, 208)
    plain = photo(101, 67).resize((303, 201), Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(handed[0].crop((0, 0, 303, 201)), float) - np.asarray(plain, float))
    assert difference.mean() < 0.5 and difference[:, -8:].max() < 12


def test_without_a_prompt_there_is_no_guidance_and_half_the_batch(pipe):
    batches = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
    plain = enlarge(pipe, photo(64, 64), scale=2)
    told = enlarge(pipe, photo(64, 64), scale=2, prompt="apple")
    hook.remove()
    assert batches == [1, 2]
    assert plain.images[0].tobytes() != told.images[0].tobytes()
    assert (plain.settings["prompt"], plain.settings["guidance"]) == ("", 1.0)


def test_the_same_seed_gives_the_same_picture_from_a_file_too(pipe, tmp_path):
    photo(64, 48).save(tmp_path / "photo.png")
    one = enlarge(pipe, tmp_path / "photo.png", scale=2, seed=3)
    same = enlarge(pipe, photo(64, 48), scale=2, seed=3)
    other = enlarge(pipe, photo(64, 48), scale=2, seed=4)
    assert one.images[0].tobytes() == same.images[0].tobytes() != other.images[0].tobytes()


def test_progress_counts_the_legs_steps(pipe):
    seen = []
    enlarge(pipe, photo(128, 128), scale=4, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "either scale"),
        ({"scale": 2, "width": 200}, "either scale"),
        ({"scale": 1}, "a scale of 1 does not enlarge"),
        ({"scale": float("nan")}, "scale of nan"),
        ({"width": 50}, "does not enlarge"),
        ({"width": 200, "height": 200}, "200x150 has"),
        ({"scale": 200}, "20000x15000 has 300000000 pixels"),
        ({"scale": 2, "steps": 0}, "steps is 0"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_before_any_work(pipe, asked, says):
    calls = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(RedilateError, match=says):
        enlarge(pipe, photo(100, 75), **asked)
    hook.remove()
    assert not calls


def test_it_is_the_second_pass_around_ones_own_call(pipe):
    """Latents in place of a picture, and the pipeline's own words for its arguments."""
    latents = pipe("apple", num_inference_steps=2, output_type="latent").images
    picture = pipe.image_processor.postprocess(redilate.decode(pipe, latents))[0]
    own = redilate.enlarge(
        pipe, latents, width=384, prompt="apple", num_inference_steps=4, guidance_scale=3.0
    )
    same = redilate.enlarge(pipe, picture, width=384, prompt="apple", steps=4, guidance=3.0)
    assert own.images[0].tobytes() == same.images[0].tobytes()
    assert own.drawing.legs[-1].dilated > 0


def test_embeddings_stand_for_the_prompt_wherever_they_are_given(pipe):
    found = pipe.encode_prompt("fox", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True)
    names = (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    )
    embedded = dict(zip(names, found, strict=True))
    inside = enlarge(pipe, photo(64, 64), scale=2, extra=embedded)
    assert inside.images[0].tobytes() == enlarge(pipe, photo(64, 64), scale=2, **embedded).images[0].tobytes()
    with pytest.raises(RedilateError, match="both a prompt and prompt_embeds"):
        enlarge(pipe, photo(64, 64), scale=2, prompt="fox", **embedded)


def test_guidance_without_a_prompt_is_not_dropped_in_silence(pipe):
    told = []
    enlarge(pipe, photo(64, 64), scale=2, guidance=7.0, on_note=told.append)
    assert told == ["guidance 7 has no effect without a prompt; it is drawn without guidance"]
    told.clear()
    enlarge(pipe, photo(64, 64), scale=2, guidance=7.0, prompt="fox", on_note=told.append)
    enlarge(pipe, photo(64, 64), scale=2, on_note=told.append)
    assert not told
