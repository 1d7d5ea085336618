"""`generate`: sizes, seeds, methods, progress, and a pipeline left as it was."""

import pytest
import torch

import redilate
from redilate import Plan, RedilateError
from redilate.core.patch import find_patch
from redilate.pipelines import out_of_memory
from redilate.plans.plan import convolutions
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_any_size_and_ratio_comes_out_as_asked(pipe):
    for width, height in ((512, 256), (264, 392), (128, 640)):
        made = redilate.generate(pipe, "apple", width=width, height=height, steps=1)
        assert made.images[0].size == (width, height)
        assert find_patch(pipe.unet) is None


def test_without_a_size_it_is_the_native_one_and_direct_inference_bit_for_bit(pipe):
    ours = redilate.generate(pipe, "apple", steps=2, seed=5)
    stock = pipe(
        "apple", num_inference_steps=2, guidance_scale=5.0, generator=torch.Generator().manual_seed(5)
    )
    assert ours.images[0].size == (256, 256) and ours.images[0].tobytes() == stock.images[0].tobytes()


def test_direct_is_the_stock_pipeline_at_that_size(pipe):
    ours = redilate.generate(pipe, "apple", width=384, height=256, steps=2, method="direct", negative="pear")
    stock = pipe(
        "apple",
        negative_prompt="pear",
        width=384,
        height=256,
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(0),
    )
    assert ours.images[0].tobytes() == stock.images[0].tobytes() and ours.plan is None


def test_each_picture_of_several_can_be_made_again_alone(pipe):
    three = redilate.generate(pipe, "apple", width=384, height=256, steps=2, seed=7, count=3)
    assert three.seeds == [7, 8, 9]
    alone = redilate.generate(pipe, "apple", width=384, height=256, steps=2, seed=9)
    assert alone.images[0].tobytes() == three.images[2].tobytes() != three.images[0].tobytes()


def test_progress_counts_every_step_of_every_picture(pipe):
    seen = []
    redilate.generate(pipe, "apple", steps=2, count=2, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_plan_of_ones_own_is_used_and_reported(pipe):
    plan = Plan(dilation=dict.fromkeys(convolutions(pipe.unet), (1, 3)), until=0.1)
    made = redilate.generate(pipe, "apple", width=384, height=256, steps=2, plan=plan)
    assert made.plan == plan and Plan.model_validate(made.settings["legs"][-1]["plan"]) == plan


def test_a_pipeline_that_was_applied_to_is_used_as_it_stands(pipe):
    plan = Plan(dilation=dict.fromkeys(convolutions(pipe.unet), (1, 3)), until=0.5)
    with redilate.apply(pipe, plan):
        made = redilate.generate(pipe, "apple", width=384, height=256, steps=2)
        assert made.plan == plan and find_patch(pipe.unet) is not None
        with pytest.raises(RedilateError, match=r"call redilate\.remove"):
            redilate.generate(pipe, "apple", steps=1, method="direct")


def test_an_interrupted_generation_leaves_the_pipeline_unpatched(pipe):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redilate.generate(pipe, "apple", width=384, height=256, steps=3, on_step=stop)
    assert find_patch(pipe.unet) is None
    assert not any("Redilated" in type(module).__name__ for module in pipe.unet.modules())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"width": 250}, "250x256 is not a size.*such as 248x256"),
        ({"height": 0}, "not a size"),
        ({"steps": 0}, "steps is 0"),
        ({"count": 0}, "count is 0"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"method": "direct", "plan": Plan()}, "direct inference uses none"),
        ({"plan": Plan(dilation={"no.such": (2, 2)})}, "no.such"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(pipe, wrong, says):
    calls = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(RedilateError, match=says):
        redilate.generate(pipe, "apple", **({"steps": 1} | wrong))
    hook.remove()
    assert not calls


def test_a_plan_that_follows_from_the_size_is_reported_of_a_pipeline_that_was_applied_to(pipe):
    with redilate.apply(pipe):
        made = redilate.generate(pipe, "apple", width=512, height=256, steps=1)
    assert made.plan == redilate.plan_for(pipe, width=512, height=256, strength=1)


def test_decodes_and_encodes_in_strips_are_reported_of_each_leg(pipe, monkeypatch):
    monkeypatch.setattr(out_of_memory, "_WHOLE_ON_CPU", 0)
    ended, drawn = [], []

    def on_decode(done, total):
        assert 0 < done <= total
        if done == total:
            ended.append(total)

    for strength in (1, 0.5):
        for report in (None, on_decode):
            made = redilate.generate(
                pipe, "apple", width=384, height=384, steps=2, strength=strength, on_decode=report
            )
            drawn.append(made.images[0].tobytes())
    assert drawn[0] == drawn[1] and drawn[2] == drawn[3]
    one, native, encoded, large = ended  # one leg's; two legs', of 256 × 256 and of 384 × 384
    assert one == large > native and encoded > 0
