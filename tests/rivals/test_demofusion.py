"""DemoFusion's cascade: its phases and its skip residual."""

import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from redilate import RedilateError, SafetyStopped
from redilate.rivals.demofusion import _Residual, draw, phases
from tests.compatibility.films import animation
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import noise


def test_phases_grow_by_one_native_side_and_keep_the_shape():
    assert phases((1024, 1024), (256, 256), 8) == [(side, side) for side in (256, 512, 768, 1024)]
    assert phases((256, 768), (256, 256), 8) == [(88, 256), (168, 512), (256, 768)]
    assert phases((640, 640), (256, 256), 8) == [(256, 256), (512, 512), (640, 640)]
    assert phases((256, 128), (256, 256), 8) == [(256, 128)]


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_the_skip_residual_mixes_in_the_enlarged_latents_at_the_next_noise_level(make):
    pipe, clean = make(), noise(1, 4, 4)
    residual = _Residual(pipe, clean, (8, 8), 10, 3.0, torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(clean, size=(8, 8), mode="bicubic")
    grain = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = float(pipe.scheduler.alphas_cumprod[801])
    noisy = math.sqrt(kept) * large + math.sqrt(1 - kept) * grain
    if isinstance(pipe.scheduler, EulerDiscreteScheduler):
        noisy /= math.sqrt(kept)
    share = ((1 + math.cos(math.pi * (1 - 0.801))) / 2) ** 3
    latents = noise(1, 8, 8, seed=9)
    expected = share * noisy + (1 - share) * latents
    torch.testing.assert_close(residual.before(1, latents), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(residual.before(10, latents), latents)


def test_phases_are_calls_of_the_pipeline_from_the_native_size_up():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    sizes, steps = [], []
    hook = pipe.unet.register_forward_pre_hook(
        lambda _, __, given: sizes.append(given["added_cond_kwargs"]["time_ids"][0, :2].tolist()),
        with_kwargs=True,
        prepend=True,
    )
    made = draw(
        pipe,
        "apple",
        width=128,
        height=64,
        steps=2,
        guidance=1.0,
        native_size=64,
        on_step=lambda *at: steps.append(at),
    )
    hook.remove()
    # 2 steps of one 32×64 call, then 2 of three crops and four interleaved views.
    assert sizes == [[32, 64]] * 2 + [[64, 128]] * 2 * (3 + 4)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert made.images[0].size == (128, 64) and made.settings["parameters"]["skip"] == 3.0
    again = draw(pipe, "apple", width=128, height=64, steps=2, guidance=1.0, native_size=64)
    assert again.images[0].tobytes() == made.images[0].tobytes()


def test_what_cannot_be_drawn_is_refused_before_any_work():
    pipe = tiny_sdxl()
    for wrong, says in (
        ({"width": 130}, "not a size"),
        ({"steps": 0}, "at least 1"),
        ({"prompt": ["a"]}, "one text"),
    ):
        asked = {"prompt": "apple", "width": 128, "height": 64, "native_size": 64} | wrong
        with pytest.raises(RedilateError, match=says):
            draw(pipe, asked.pop("prompt"), **asked)
    with pytest.raises(RedilateError, match="AnimateDiffPipeline makes video"):
        draw(animation().pipe, "apple", width=128, height=64, native_size=64)


def test_guidance_that_is_left_out_is_the_familys_and_a_long_prompt_is_read_whole():
    """Byte by byte, as the tiny tokenizer spells: the ends are beyond the first window of 77."""
    pipe = tiny_sd15()
    few = {"width": 384, "height": 384, "steps": 2}
    red, blue = (draw(pipe, "word " * 30 + end, guidance=None, **few) for end in ("red", "blue"))
    assert red.images[0].tobytes() != blue.images[0].tobytes()
    assert red.settings["guidance"] > 1


def test_a_picture_that_the_safety_checker_blacked_out_is_no_success(monkeypatch):
    monkeypatch.setattr("redilate.rivals.demofusion.blacked_out", lambda _: [0])
    with pytest.raises(SafetyStopped):
        draw(tiny_sd15(), "fox", width=384, height=384, steps=1)
