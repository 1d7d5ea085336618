"""`run`: what a drawing says is what happens; ties, second passes, embeddings, LoRA, ControlNet, safety checkers."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import ClassVar

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from diffusers.callbacks import PipelineCallback
from peft import LoraConfig
from PIL import Image

import redilate
from redilate import Hires, RedilateError, Request, SafetyStopped, resolve, run
from redilate.core.conv import _STATE, RedilatedConv2d
from redilate.core.patch import find_patch
from redilate.core.schedule import Tie, low_pass, tie_weight
from redilate.pipelines.support import encode
from tests.compatibility.samples import controlnet, quiet, xl
from tests.models import tiny_sd15, tiny_sdxl

SIZE = {"width": 384, "height": 384}
FEW = {**SIZE, "steps": 4}


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    return quiet(request.param())


def test_the_default_equals_its_own_plan_bit_for_bit(pipe):
    plain = redilate.generate(pipe, "fox", **FEW).images[0]
    planned = redilate.generate(pipe, "fox", plan=redilate.plan_for(pipe, **SIZE), **FEW).images[0]
    assert plain.tobytes() == planned.tobytes()
    assert plain.tobytes() != redilate.generate(pipe, "fox", plan="none", **FEW).images[0].tobytes()


def test_strength_1_equals_ones_own_call_under_apply_bit_for_bit(pipe):
    ours = redilate.generate(pipe, "fox", strength=1, guidance=4, seed=3, **FEW).images[0]
    with redilate.apply(pipe):
        own = pipe(
            "fox", num_inference_steps=4, guidance_scale=4, generator=torch.Generator().manual_seed(3), **SIZE
        ).images[0]
    assert ours.tobytes() == own.tobytes()


def test_convolutions_are_dilated_in_the_large_leg_as_the_drawing_says(pipe):
    drawing = resolve(pipe, Request(prompt="fox", steps=10, **SIZE))
    counts: dict[int, set[int]] = {}

    def count(module, args):
        in_force = sum(
            isinstance(one, RedilatedConv2d) and one.__dict__[_STATE].dilation != (1.0, 1.0)
            for one in pipe.unet.modules()
        )
        counts.setdefault(args[0].shape[-1] * 8, set()).add(in_force)

    hook = pipe.unet.conv_in.register_forward_pre_hook(count)
    try:
        run(pipe, drawing)
    finally:
        hook.remove()
    native, large = drawing.legs
    assert counts[native.width] == {0} and large.dilated in counts[large.width]
    assert counts[large.width] == {0, large.dilated}, "until the plan ends, and as trained below"


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler])
def test_a_tie_holds_low_frequencies_and_leaves_detail_free(scheduler):
    pipe = quiet(tiny_sdxl())
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    native = redilate.generate(pipe, "fox", steps=3).images[0]
    wanted = encode(pipe, native.resize((384, 384), Image.Resampling.LANCZOS))

    def off(tie):
        """How far the leg's last latents are from the enlarged picture's, in low and in high frequencies."""
        latents = []
        redilate.generate(
            pipe, "fox", strength=0.6, hires=Hires(tie=tie, tie_until=2.0, steps=3), width=384, height=384,
            steps=3, on_latents=latents.append,
        )  # fmt: skip
        difference = latents[-1] - wanted
        low = low_pass(difference, 4)
        return float(low.std()), float((difference - low).std())

    (free_low, free_high), (tied_low, tied_high) = off(0.0), off(1.0)
    assert tied_low < 0.85 * free_low and tied_high > 0.5 * free_high


def test_a_tie_fades_along_a_half_cosine():
    tie = Tie(weight=0.8, until=0.5, period=4.0)
    weights = [tie_weight(tie, done, 8) for done in range(9)]
    assert weights[0] == 0.8 and weights[2] == pytest.approx(0.4) and weights[4:] == [0.0] * 5
    assert tie_weight(replace(tie, until=1.5), 8, 8) == 0.8


def test_the_second_pass_may_say_something_else_than_the_first(pipe):
    plain = redilate.generate(pipe, "fox", **FEW).images[0].tobytes()
    for hires in (
        Hires(prompt="a snail"),
        Hires(guidance=9.0),
        Hires(steps=3),
        Hires(scheduler="euler-a"),
        Hires(pipe=quiet(type(pipe)(**_parts(pipe)))),
    ):
        other = redilate.generate(pipe, "fox", hires=hires, **FEW)
        same = hires.pipe is not None
        assert (other.images[0].tobytes() == plain) is same, hires
        assert find_patch(pipe.unet) is None


def _parts(pipe):
    flags = {"requires_safety_checker": False} if "safety_checker" in pipe.components else {}
    return {**pipe.components, **flags}


def test_lists_of_prompts_and_their_embeddings_give_the_same_pictures(pipe):
    prompts = ["a fox", "a red snail"]
    told = redilate.generate(pipe, prompts, guidance=1.0, **FEW)
    assert told.seeds == [0, 1] and told.settings["prompt"] == prompts
    # One by one, as generate calls the pipeline: a batch of two differs in its last bits.
    each = [
        pipe.encode_prompt(one, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
        for one in prompts
    ]
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds")
    extra = {name: torch.cat(rows) for name, *rows in zip(names, *each, strict=False) if rows[0] is not None}
    given = redilate.generate(pipe, extra=extra, guidance=1.0, **FEW)
    assert [one.tobytes() for one in given.images] == [one.tobytes() for one in told.images]
    # Two pictures of each: the second prompt's are not the first one's.
    twice = {"guidance": 1.0, "count": 2, **FEW}
    told, given = redilate.generate(pipe, prompts, **twice), redilate.generate(pipe, extra=extra, **twice)
    assert [one.tobytes() for one in given.images] == [one.tobytes() for one in told.images]


def test_a_callback_of_ones_own_is_called_at_every_step_of_every_leg(pipe):
    calls = []

    def own(_pipe, index, _timestep, arguments):
        calls.append(index)
        return arguments

    made = redilate.generate(pipe, "fox", extra={"callback_on_step_end": own}, **FEW)
    assert len(calls) == made.drawing.steps


def test_a_callback_that_asks_for_other_tensors_than_latents_gets_them_too(pipe):
    seen = set()

    def own(_pipe, _index, _timestep, arguments):
        seen.update(arguments)
        return arguments

    own_words = {"callback_on_step_end": own, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    with_own = redilate.generate(pipe, "fox", extra=own_words, **FEW)
    assert seen == {"latents", "prompt_embeds"}
    assert with_own.images[0].tobytes() == redilate.generate(pipe, "fox", **FEW).images[0].tobytes()


def test_a_callback_of_diffusers_own_gets_the_tensors_that_it_names(pipe):
    class Own(PipelineCallback):
        tensor_inputs = ["prompt_embeds"]  # noqa: RUF012 (diffusers wants a list)
        seen: ClassVar[set[str]] = set()

        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            self.seen.update(callback_kwargs)
            return callback_kwargs

    redilate.generate(pipe, "fox", extra={"callback_on_step_end": Own()}, **FEW)
    assert Own.seen == {"latents", "prompt_embeds"}


def test_latents_that_are_no_numbers_are_said_and_not_drawn_black(pipe):
    def spoil(_pipe, _index, _timestep, arguments):
        return {"latents": arguments["latents"] * float("nan")}

    with pytest.raises(RedilateError, match="not all finite numbers"):
        redilate.generate(pipe, "fox", steps=1, extra={"callback_on_step_end": spoil})


def test_a_lora_on_convolutions_changes_the_large_leg_too():
    pipe = quiet(tiny_sdxl())
    picture = Image.radial_gradient("L").convert("RGB")
    draw = lambda: redilate.enlarge(pipe, picture, scale=1.5, prompt="fox", steps=4).images[0].tobytes()  # noqa: E731
    bare = draw()
    torch.manual_seed(1)
    pipe.unet.add_adapter(LoraConfig(target_modules=["conv1", "to_q"], r=2, init_lora_weights=False))
    assert draw() != bare
    pipe.disable_lora()
    assert draw() == bare


def test_a_tile_controlnet_is_fed_the_enlarged_picture():
    plain = quiet(tiny_sdxl())
    tile = xl("StableDiffusionXLControlNetImg2ImgPipeline", controlnet=controlnet(plain.unet, 2))
    fed = []
    hook = tile.controlnet.register_forward_pre_hook(
        lambda _, __, kwargs: fed.append(kwargs["controlnet_cond"].shape[-2:]), with_kwargs=True
    )
    redilate.generate(plain, "fox", hires=Hires(pipe=tile, control="enlarged"), **FEW)
    hook.remove()
    assert set(fed) == {torch.Size([384, 384])}


@pytest.mark.parametrize("draw", ["generate", "enlarge", "edit"])
def test_a_controlnet_without_a_picture_to_follow_is_refused_before_any_work(draw):
    plain = quiet(tiny_sdxl())
    pipe = xl("StableDiffusionXLControlNetPipeline", controlnet=controlnet(plain.unet, 2))
    drawn = []
    picture = Image.new("RGB", (64, 64))
    call = {
        "generate": lambda **more: redilate.generate(pipe, "fox", width=64, height=64, **more),
        "enlarge": lambda **more: redilate.enlarge(pipe, picture, scale=2, **more),
        "edit": lambda **more: redilate.edit(pipe, "fox", picture, **more),
    }[draw]
    with pytest.raises(RedilateError, match="no picture for it to follow"):
        call(on_drawing=drawn.append)
    assert not drawn
    follow = {"image" if draw == "generate" else "control_image": picture}
    assert call(extra=follow, steps=2).images


def test_a_controlnet_of_another_family_is_refused_before_any_work():
    other = quiet(tiny_sd15())
    pipe = xl("StableDiffusionXLControlNetPipeline", controlnet=controlnet(other.unet, 2))
    with pytest.raises(RedilateError, match=r"another family.*8 numbers wide.*model's are 16"):
        redilate.generate(pipe, "fox", extra={"image": Image.new("RGB", (64, 64))})


def test_a_network_for_masked_pictures_alone_is_refused_without_a_mask():
    plain = quiet(tiny_sd15())
    unet = UNet2DConditionModel.from_config(plain.unet.config, in_channels=9)
    pipe = quiet(
        StableDiffusionInpaintPipeline(**plain.components | {"unet": unet}, requires_safety_checker=False)
    )
    picture = Image.new("RGB", (64, 64))
    for draw in (
        lambda: redilate.enlarge(pipe, picture, scale=2),
        lambda: redilate.edit(pipe, "fox", picture),
        lambda: redilate.enlarge(plain, picture, scale=2, hires=Hires(pipe=pipe)),
    ):
        with pytest.raises(RedilateError, match="masked pictures"):
            draw()
    assert redilate.edit(pipe, "fox", picture, mask=Image.new("L", (64, 64), 255), steps=2).images


def test_lcm_pipelines_draw_in_legs_of_as_many_steps_as_are_told():
    pipe = quiet(tiny_sdxl())
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    steps = []
    made = redilate.generate(
        pipe, "fox", on_step=lambda done, total: steps.append((done, total)), steps=4, **SIZE
    )
    assert steps == [(k, made.drawing.steps) for k in range(1, made.drawing.steps + 1)]


def test_a_picture_that_the_safety_checker_took_back_ends_the_drawing(pipe, monkeypatch):
    calls = []
    original = type(pipe).__call__

    @wraps(original)
    def flagged(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        calls.append(kwargs["width"])
        result["nsfw_content_detected"] = [True]
        result.nsfw_content_detected = [True]
        return result

    monkeypatch.setattr(type(pipe), "__call__", flagged)
    with pytest.raises(SafetyStopped, match="safety checker"):
        redilate.generate(pipe, "fox", **FEW)
    assert calls == [256], "no large leg is drawn on a black picture"


def test_inpainting_changes_what_is_masked_alone():
    pipe = quiet(tiny_sdxl())
    picture = Image.radial_gradient("L").convert("RGB")
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (128, 0, 256, 256))
    made = redilate.edit(pipe, "fox", picture, mask=mask, strength=0.9, steps=4).images[0]
    kept = redilate.edit(pipe, "fox", picture, mask=Image.new("L", picture.size, 0), strength=0.9, steps=4)
    difference = [abs(a - b) for a, b in zip(made.tobytes(), kept.images[0].tobytes(), strict=True)]
    assert max(difference) > 0
