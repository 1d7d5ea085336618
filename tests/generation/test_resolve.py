"""`resolve`: legs, strength and what is in force, over sizes, ratios and families; and what is refused."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

import redilate
from redilate import Hires, Plan, RedilateError, Request, resolve
from redilate.plans.defaults import DEFAULTS
from redilate.plans.plan import block_of
from tests.compatibility import films
from tests.full_size import full_size_unet
from tests.models import tiny_sd15, tiny_sdxl

FAMILIES = ["bundled", "sd15", "sd21", "sdxl", "unknown"]


def pipeline(family):
    """A pipeline of a family's own structure, its U-Net without weights."""
    if family == "bundled":
        return redilate.load()
    tiny = tiny_sd15() if family in ("sd15", "sd21", "unknown") else tiny_sdxl()
    if family == "unknown":
        return tiny
    return type(tiny)(**{**tiny.components, "unet": full_size_unet(family)}, **_flags(tiny))


def _flags(pipe):
    takes = inspect.signature(type(pipe).__init__).parameters
    return {"requires_safety_checker": False} if "requires_safety_checker" in takes else {}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    pipe = pipeline(request.param)
    native = pipe.unet.config.sample_size * 8
    return request.param, pipe, native


def asked(pipe, width, height, **more):
    return resolve(pipe, Request(prompt="fox", width=width, height=height, **more))


RATIOS = [1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3, 4]


def test_the_last_leg_is_re_dilated_by_default_at_every_size_and_ratio(family):
    name, pipe, native = family
    checked = 0
    for times in (1.3, 1.5, 1.8, 2, 2.6, 3, 4, 6, 8):
        for ratio in RATIOS:
            width = round(times * native * ratio**0.5 / 8) * 8
            height = round(times * native / ratio**0.5 / 8) * 8
            drawing = asked(pipe, width, height)
            assert drawing.family == name
            last = drawing.legs[-1]
            assert (last.width, last.height) == (width, height)
            assert last.dilated > 0, f"{width}x{height}: {drawing}"
            assert last.as_json()["plan"] is not None and last.as_json()["dilated"] == last.dilated
            checked += 1
    assert checked == 81


def test_the_default_strength_lies_above_the_default_end_but_for_distilled_models():
    for name, row in DEFAULTS.items():
        assert (row.strength > row.until) == (name != "distilled")


def test_a_drawing_goes_from_the_native_size_up_with_falling_starts(family):
    name, pipe, native = family
    drawing = asked(pipe, 4 * native, 4 * native)
    assert [leg.width for leg in drawing.legs] == [native, 2 * native, 4 * native]
    starts = [leg.start for leg in drawing.legs]
    assert starts[0] == 1 and starts[0] > starts[1] > starts[2]
    assert drawing.legs[0].dilated == 0 and drawing.steps == sum(leg.steps for leg in drawing.legs)
    large = {leg.guidance for leg in drawing.legs[1:]}
    assert large == ({1.0} if name == "bundled" else {drawing.guidance})
    assert all(leg.steps >= 6 for leg in drawing.legs), "of 25 steps asked for"


def test_at_strength_1_it_is_one_leg_with_the_published_lists(family):
    name, pipe, native = family
    drawing = asked(pipe, 2 * native, 2 * native, strength=1)
    (leg,) = drawing.legs
    assert leg.start == 1 and leg.schedule is None and leg.dilated > 0
    if name == "sdxl":
        assert {block_of(one) for one in leg.plan.dilation} == {"mid_block", "up_blocks.0"}
        assert leg.plan.until == pytest.approx(0.4)
        far = asked(pipe, 4 * native, 4 * native, strength=1).legs[0].plan
        assert far.noise_damping is not None and far.schedule == "progressive"


def test_sdxls_large_legs_are_dilated_where_freescale_dilates_them():
    drawing = asked(pipeline("sdxl"), 2048, 2048)
    dilated = drawing.legs[-1].plan.dilation
    assert {block_of(name) for name in dilated} == {"down_blocks.1", "down_blocks.2", "mid_block"}
    assert [name for name in dilated if block_of(name) == "down_blocks.1"] == [
        "down_blocks.1.downsamplers.0.conv"
    ]
    assert set(dilated.values()) == {(2.0, 2.0)} and drawing.legs[-1].plan.until == 0.3


def test_sdxls_own_buckets_are_drawn_as_trained():
    for width, height in ((1344, 768), (832, 1216), (1024, 1024)):
        (leg,) = asked(pipeline("sdxl"), width, height).legs
        assert leg.dilated == 0


def test_below_the_plans_end_the_drawing_says_so_and_records_no_plan(family):
    _, pipe, native = family
    drawing = asked(pipe, 2 * native, 2 * native, strength=0.2)
    assert drawing.legs[-1].dilated == 0 and drawing.plan is None
    assert "runs as trained" in drawing.notes[0] and drawing.legs[-1].as_json()["plan"] is None


def test_a_distilled_model_takes_few_steps_without_guidance():
    pipe = tiny_sdxl()
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    drawing = asked(pipe, 512, 512, steps=4)
    assert drawing.family == "distilled"
    assert drawing.legs[-1].guidance == 1 and drawing.legs[-1].steps == 1
    assert drawing.legs[-1].start == pytest.approx(0.25)


@pytest.mark.parametrize(
    "scheduler",
    [
        EulerDiscreteScheduler,
        lambda: DPMSolverMultistepScheduler(use_karras_sigmas=True),
        DPMSolverMultistepScheduler,
    ],
)
def test_a_legs_steps_are_spread_evenly_in_noise_level(scheduler):
    pipe = tiny_sdxl()
    pipe.scheduler = scheduler()
    leg = asked(pipe, 512, 512, strength=0.5).legs[-1]
    timesteps = list(leg.schedule.timesteps)
    assert timesteps[0] == pytest.approx(500, abs=1) and len(timesteps) == leg.steps == 12
    gaps = [a - b for a, b in pairwise(timesteps)]
    assert max(gaps) - min(gaps) <= 1.5


def test_presets(family):
    name, pipe, native = family
    size = (2 * native, 2 * native)
    faithful = asked(pipe, *size, preset="faithful").legs[-1]
    assert faithful.start == pytest.approx(0.25, abs=0.02) and faithful.guidance == 1
    assert faithful.noise_floor > 0 and faithful.tie.until > 1
    if name in ("sd15", "sd21", "sdxl"):
        assert len(asked(pipe, *size, preset="published").legs) == 1
    default = asked(pipe, *size).legs[-1]
    if name != "bundled":
        assert default.noise_floor == 0 and default.tie.until < 1


def test_a_strength_above_the_default_is_held_back_by_nothing(family):
    name, pipe, native = family
    leg = asked(pipe, 2 * native, 2 * native, strength=0.6).legs[-1]
    assert leg.noise_floor == 0 and leg.tie.until < 1 and leg.steps == 15 and leg.guidance > 1
    if name == "bundled":
        held = asked(pipe, 2 * native, 2 * native, strength=0.4).legs[-1]
        assert held.noise_floor > 0 and held.tie.until > 1 and held.steps == 6 and held.guidance == 1


def test_the_second_pass_has_its_own_guidance_and_steps():
    drawing = asked(tiny_sdxl(), 512, 512, guidance=4, hires=Hires(guidance=9, steps=3))
    assert [leg.guidance for leg in drawing.legs] == [4, 9] and drawing.legs[-1].steps == 3


def embeds(tokens=77, width=16, **others):
    return {
        "prompt_embeds": torch.zeros(1, tokens, width),
        "pooled_prompt_embeds": torch.zeros(1, 8),
        **others,
    }


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"strength": 0}, "strength is 0; above 0 and up to 1"),
        ({"strength": 1.2}, "strength is 1.2"),
        ({"guidance": float("inf")}, "guidance is inf"),
        ({"seed": -2}, "seed -2: 0 to "),
        ({"preset": "magic"}, "unknown preset 'magic'"),
        ({"prompt": None}, "the prompt is a text"),
        ({"prompt": 5}, "the prompt is a text"),
        ({"extra": {"callback": 1}}, "takes no argument 'callback'"),
        ({"extra": {"guidance_scale": 3}}, "guidance_scale is called guidance here"),
        ({"extra": {"generator": None}}, "generator is called seed here"),
        ({"extra": {"num_images_per_prompt": 2}}, "called count here"),
        ({"extra": {"output_type": "latent"}}, r"redilate\.apply"),
        (
            {"extra": {"timesteps": [900, 500]}},
            "'timesteps', and a leg that starts from a picture has a schedule",
        ),
        ({"extra": {"sigmas": [9.0, 1.0]}}, "'sigmas', and a leg that starts from a picture has a schedule"),
        (
            {"extra": {"latents": torch.zeros(1, 4, 8, 8)}},
            r"shape \(1, 4, 8, 8\); a picture of 512x512 has \(1, .* 64, 64\)",
        ),
        ({"extra": {"latents": torch.zeros(2, 3, 64, 64)}}, r"has \(1, 4, 64, 64\)"),
        ({"extra": {"latents": torch.full((1, 4, 64, 64), torch.nan)}}, "not all finite"),
        (
            {"negative": ["blurry"]},
            r"the negative prompt is a text for all pictures, or None, not \['blurry'\]",
        ),
        (
            {"extra": {"callback_on_step_end": [print]}},
            r"callback_on_step_end in extra is \[.*\]; a function",
        ),
        ({"extra": {"callback_on_step_end_tensor_inputs": ["noise"]}}, "hands no 'noise' to .*knows latents"),
        ({"extra": {"eta": "a"}}, "eta in extra is 'a'; .* takes a number there"),
        ({"extra": {"clip_skip": 2}}, "clip_skip in extra is 2; for a text encoder of 2 layers 0 to 1 works"),
        ({"extra": {"ip_adapter_image": 1}}, "no IP-Adapter; call its load_ip_adapter first"),
        (
            {"prompt": None, "extra": embeds(tokens=0)},
            r"shape \(1, 0, 16\); \(prompts, tokens, width\) works",
        ),
        ({"prompt": None, "extra": embeds(width=5)}, "this U-Net's text is 16 wide"),
        ({"prompt": None, "extra": embeds(tokens=154)}, "154 tokens, .* negative ones of 77"),
        (
            {"prompt": None, "extra": embeds(negative_prompt_embeds=torch.zeros(1, 154, 16))},
            "prompt_embeds",  # pooled ones are missing
        ),
        (
            {
                "prompt": None,
                "extra": embeds(
                    negative_prompt_embeds=torch.zeros(1, 154, 16),
                    negative_pooled_prompt_embeds=torch.zeros(1, 8),
                ),
            },
            "as many tokens, and as wide, work",
        ),
        (
            {"prompt": None, "extra": embeds(pooled_prompt_embeds=torch.zeros(3, 8))},
            "pooled_prompt_embeds in extra has 3 rows; 1 works",
        ),
        (
            {"negative": "blurry", "extra": {"negative_prompt_embeds": torch.zeros(1, 77, 16)}},
            "both a negative prompt and negative_prompt_embeds",
        ),
        ({"prompt": None, "extra": {"prompt_embeds": [[1]]}}, "prompt_embeds in extra is a list; a tensor"),
        (
            {"prompt": None, "extra": {"prompt_embeds": torch.zeros(1, 77, 16)}},
            "without pooled_prompt_embeds",
        ),
        ({"method": "direct", "strength": 0.5}, "direct inference draws at full size"),
        ({"hires": Hires(control="enlarged")}, "needs a pipeline with a ControlNet"),
        ({"hires": Hires(scheduler="nope")}, "unknown scheduler 'nope'"),
    ],
)
def test_what_cannot_be_done_is_refused(wrong, says):
    request = replace(Request(prompt="fox", width=512, height=512), **wrong)
    with pytest.raises(RedilateError, match=says):
        resolve(tiny_sdxl(), request)


def test_layers_that_diffusers_cannot_skip_with_this_transformers_are_refused():
    pipe = tiny_sd15()
    if hasattr(pipe.text_encoder, "text_model"):
        pytest.skip("this transformers still has the part that diffusers looks for")
    with pytest.raises(AttributeError, match="text_model"):
        pipe("fox", clip_skip=1, num_inference_steps=1)
    with pytest.raises(RedilateError, match=r"clip_skip is 1, .* of transformers .* leave clip_skip out"):
        asked(pipe, 512, 512, extra={"clip_skip": 1})


@pytest.mark.parametrize("film", [films.animation, films.film_of_a_picture])
def test_video_pipelines_are_refused_as_such_by_every_verb(film):
    pipe, picture = film().pipe, Image.new("RGB", (256, 256))
    for call in (
        lambda: redilate.generate(pipe, "fox"),
        lambda: redilate.enlarge(pipe, picture, scale=2),
        lambda: redilate.enlarge(pipe, torch.zeros(1, 4, 32, 32), scale=2),
        lambda: redilate.edit(pipe, "fox", picture),
        lambda: redilate.edit(pipe, "fox", picture, mask=picture),
        lambda: asked(tiny_sd15(), 512, 512, hires=Hires(pipe=pipe)),
    ):
        with pytest.raises(RedilateError, match=rf"{type(pipe).__name__} makes video.*redilate\.apply"):
            call()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("StableDiffusionXLImg2ImgPipeline", "starts from a picture"),
        ("StableDiffusionXLInpaintPipeline", "fills in a masked picture"),
    ],
)
def test_a_pipeline_that_is_not_text_to_image_is_refused_by_name(name, says):
    import diffusers

    pipe = getattr(diffusers, name).from_pipe(tiny_sdxl())
    with pytest.raises(RedilateError, match=f"{name} {says}"):
        asked(pipe, 512, 512)


def test_a_schedule_of_ones_own_is_for_one_leg_and_for_a_scheduler_that_takes_it():
    own = {"timesteps": [900, 500, 100]}
    assert len(asked(tiny_sdxl(), 512, 512, strength=1, extra=own).legs) == 1
    with pytest.raises(RedilateError, match="DDIMScheduler takes no timesteps of one's own"):
        asked(tiny_sd15(), 512, 512, strength=1, extra=own)


def test_a_plan_for_a_size_is_the_one_that_generate_uses():
    for make in (tiny_sd15, tiny_sdxl):
        pipe = make()
        assert redilate.plan_for(pipe, width=512, height=512) == asked(pipe, 512, 512).legs[-1].plan
        whole = redilate.plan_for(pipe, width=512, height=512, strength=1)
        assert whole == asked(pipe, 512, 512, strength=1).legs[-1].plan != asked(pipe, 512, 512).legs[-1].plan


def test_plan_none_draws_every_leg_as_trained():
    drawing = asked(tiny_sdxl(), 512, 512, plan="none")
    assert [leg.dilated for leg in drawing.legs] == [0, 0] and not drawing.notes


def test_pipeline_classes_used_here_are_diffusers_own():
    assert isinstance(pipeline("sdxl"), StableDiffusionXLPipeline)
    assert isinstance(pipeline("sd15"), StableDiffusionPipeline)


def test_a_plan_is_of_the_last_leg_alone():
    pipe = tiny_sdxl()
    own = Plan(dilation={"mid_block.resnets.0.conv1": (3, 3)}, until=0.1)
    legs = asked(pipe, 1024, 1024, plan=own).legs
    assert legs[-1].plan == own and legs[-2].plan == asked(pipe, 1024, 1024).legs[-2].plan
