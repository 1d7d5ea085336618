"""The MODEL node on a U-Net in ComfyUI's layout, against the same weights in diffusers."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import redilate
from integrations.comfyui import NODE_CLASS_MAPPINGS
from integrations.comfyui.model import plans_for, redilate_model
from redilate import NoiseDamping, Plan, RedilateError
from redilate.core.conv import Dispersion
from redilate.plans.defaults import leg_plan, whole_plan
from redilate.plans.plan import convolutions as of_diffusers
from tests.integrations.comfyui.host import (
    BaseModel,
    Flow,
    Guider,
    ModelPatcher,
    Sampling,
    UNetModel,
    predict,
)
from tests.models import tiny_sd15

UNET = tiny_sd15().unet
NAMES = list(of_diffusers(UNET))
SIGMAS = Sampling().sigmas
HIGH, LOW = float(SIGMAS[900]), float(SIGMAS[200])
X = torch.randn(2, 4, 32, 48, generator=torch.Generator().manual_seed(1))
CONTEXT = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def model():
    return ModelPatcher(BaseModel(UNetModel(UNET), context=768))


def in_diffusers(x, timestep, plan):
    """What the model above answers, by diffusers' U-Net and `redilate.apply`."""
    sigma = SIGMAS[timestep]
    with torch.no_grad(), redilate.apply(UNET, plan):
        noise = UNET(x / (sigma**2 + 1) ** 0.5, float(timestep), CONTEXT[: len(x)]).sample
    return x - noise * sigma


def close(ours, reference):
    # Two modules' kernels may be chosen differently; the picture is σ times the noise away.
    assert (ours - reference).abs().max() <= 1e-4 * float(reference.abs().max())


def classes(model):
    return [type(module) for module in model.model.modules()]


PLANS = {
    "whole": Plan(dilation=dict.fromkeys(NAMES, (2.0, 2.0))),
    "per axis, fractional": Plan(dilation=dict.fromkeys(NAMES, (1.5, 3.0))),
    "in one block": Plan(dilation={name: (2.0, 2.0) for name in NAMES if name.startswith("up_blocks.1")}),
    "low-passed": Plan(dilation=dict.fromkeys(NAMES, (2.0, 2.0)), low_passed=frozenset(NAMES)),
    "dispersed": Plan(
        dilation=dict.fromkeys(NAMES, (2.0, 2.0)),
        dispersed=frozenset(NAMES),
        dispersion=Dispersion(input_size=3),
    ),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_plan_does_what_it_does_in_diffusers(model, plan):
    close(predict(model, X, HIGH, CONTEXT), in_diffusers(X, 900, Plan()))
    patched = redilate_model(model, plan=plan.model_dump_json())
    ours = predict(patched, X, HIGH, CONTEXT)
    close(ours, in_diffusers(X, 900, plan))
    assert not torch.allclose(ours, predict(model, X, HIGH, CONTEXT), rtol=1e-2)


def due(whole, size, native=128):
    """The plan for latents of `size` (height, width)."""
    ratio = (8 * size[0] / native, 8 * size[1] / native)
    plan = (whole_plan if whole else leg_plan)(NAMES, "sd15", ratio)
    return plan.model_copy(update={"noise_damping": None})


@pytest.mark.parametrize("size", [(32, 48), (16, 40)])
def test_without_a_plan_it_follows_from_the_size_of_what_is_sampled_and_from_its_start(model, size):
    """From pure noise it is that of a whole drawing, from lower levels that of a large leg."""
    patched = redilate_model(model, native_size=128)
    x = X[..., : size[0], : size[1]]
    whole, leg = due(True, size), due(False, size)
    assert whole.dilation and leg.dilation and whole != leg
    close(predict(patched, x, HIGH, CONTEXT), in_diffusers(x, 900, whole))
    (drawn, later) = Guider(patched).sample(x, [float(SIGMAS[999]), HIGH], CONTEXT)
    close(later, in_diffusers(x, 900, whole))
    (drawn,) = Guider(patched).sample(x, [HIGH], CONTEXT)
    close(drawn, in_diffusers(x, 900, leg))


def test_below_until_at_native_size_and_through_other_copies_it_is_the_model_bit_for_bit(model):
    plain = {sigma: predict(model, X, sigma, CONTEXT) for sigma in (HIGH, LOW)}
    before = classes(model)
    patched = redilate_model(model, native_size=128)
    assert model.model_options == {"transformer_options": {}} and model.wrappers == {}
    large = predict(patched, X, HIGH, CONTEXT)
    assert not torch.equal(large, plain[HIGH])
    assert torch.equal(predict(patched, X, LOW, CONTEXT), plain[LOW])
    assert torch.equal(predict(redilate_model(model, native_size=512), X, HIGH, CONTEXT), plain[HIGH])
    copy_of_copy = patched.clone()
    assert torch.equal(predict(copy_of_copy, X, HIGH, CONTEXT), large)
    assert torch.equal(predict(model, X, HIGH, CONTEXT), plain[HIGH])
    assert classes(model) == before and not any("_redilation" in m.__dict__ for m in model.model.modules())


def test_a_copy_around_another_network_is_re_dilated_too(model):
    """torch.compile's node and dynamic VRAM exchange the network: it was silently plain."""
    patched = redilate_model(model, native_size=128)
    other = patched.clone(BaseModel(UNetModel(UNET), context=768))
    plain = predict(model, X, HIGH, CONTEXT)
    assert torch.equal(predict(other, X, HIGH, CONTEXT), predict(patched, X, HIGH, CONTEXT))
    assert not torch.allclose(predict(other, X, HIGH, CONTEXT), plain, rtol=1e-2)
    assert torch.equal(predict(model, X, HIGH, CONTEXT), plain)


def test_a_wrapper_that_a_later_node_sets_drops_nothing(model):
    patched = redilate_model(model, native_size=128)
    alone = predict(patched, X, HIGH, CONTEXT)
    patched.set_model_unet_function_wrapper(lambda f, a: f(a["input"], a["timestep"], **a["c"]))
    assert torch.equal(predict(patched, X, HIGH, CONTEXT), alone)


def test_of_two_nodes_in_a_row_the_last_one_counts(model):
    first = redilate_model(model, plan=PLANS["whole"].model_dump_json())
    both = redilate_model(first, native_size=128)
    alone = redilate_model(model, native_size=128)
    assert torch.equal(predict(both, X, HIGH, CONTEXT), predict(alone, X, HIGH, CONTEXT))
    assert not torch.equal(predict(first, X, HIGH, CONTEXT), predict(alone, X, HIGH, CONTEXT))


def test_threads_on_one_network_draw_what_they_draw_alone(model):
    copies = [redilate_model(model, native_size=side) for side in (64, 128, 192)]
    alone = [predict(each, X, HIGH, CONTEXT) for each in copies]
    assert not torch.equal(alone[0], alone[1]) and not torch.equal(alone[1], alone[2])
    with ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            together = list(pool.map(lambda each: predict(each, X, HIGH, CONTEXT), copies))
            assert all(map(torch.equal, together, alone))


def test_a_rectified_flow_is_re_dilated(model):
    """Its σ is the noise level: pure noise read as 0.354 and was left as trained."""
    plain = ModelPatcher(model.model)
    model.model.model_sampling = Flow()
    patched = redilate_model(model, native_size=128)
    for sigma, same in ((1.0, False), (0.6, False), (0.2, True)):
        answers = predict(patched, X, sigma, CONTEXT), predict(plain, X, sigma, CONTEXT)
        assert torch.equal(*answers) is same


def test_one_line_a_run_says_what_was_dilated(model, caplog):
    caplog.set_level("INFO")
    patched = redilate_model(model, native_size=128)
    top = float(SIGMAS[999])
    Guider(patched).sample(X, [HIGH, LOW], CONTEXT)
    Guider(patched).sample(X, [LOW], CONTEXT)
    Guider(patched).sample(X[..., :16, :16], [top], CONTEXT)
    dilated, late, native = caplog.messages
    assert dilated == (
        "Redilate: 384x256: 14 convolutions dilated (14 by 2 high and 3 wide) from noise level 0.90 to 0.30, in 1 of 2 "
        "calls"
    )
    assert (
        late
        == "Redilate: 384x256: nothing was dilated: from noise level 0.20, below 0.30 where the plan ends"
    )
    assert native == "Redilate: 128x128: nothing was dilated: it is no larger than native"


def test_a_run_whose_network_was_called_past_the_node_says_so(model, caplog):
    caplog.set_level("INFO")
    patched = redilate_model(model, native_size=128)
    patched.wrappers.pop("apply_model")
    Guider(patched).sample(X, [HIGH], CONTEXT)
    assert caplog.messages == ["Redilate: nothing was dilated: the network was called past this node"]


def test_a_call_that_fails_leaves_nothing_behind(model):
    before = classes(model)
    patched = redilate_model(model, native_size=128)
    hook = model.model.diffusion_model.out.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(patched, X, HIGH, CONTEXT)
    hook.remove()
    assert classes(model) == before


def test_a_wrapper_that_was_there_goes_on_working(model):
    seen = []

    def other(apply_model, arguments):
        seen.append(arguments["input"].shape)
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    alone = predict(redilate_model(model, native_size=128), X, HIGH, CONTEXT)
    model.set_model_unet_function_wrapper(other)
    assert torch.equal(predict(redilate_model(model, native_size=128), X, HIGH, CONTEXT), alone)
    assert seen == [X.shape]


def test_a_schedule_of_its_own_is_followed(model):
    """`ModelSamplingContinuousEDM` counts no timesteps: its σ is looked up on Stable Diffusion's schedule."""
    patched = redilate_model(model, native_size=128)
    reference = {sigma: predict(patched, X, sigma, CONTEXT) for sigma in (HIGH, LOW)}
    counted = model.model.model_sampling
    model.model.model_sampling = type("Continuous", (), {"timestep": staticmethod(counted.timestep)})()
    for sigma, expected in reference.items():
        assert torch.equal(predict(patched, X, sigma, CONTEXT), expected)


@pytest.mark.parametrize(
    ("context", "model_type", "native"),
    [(768, "EPS", 512), (1024, "EPS", 512), (1024, "V_PREDICTION", 768), (2048, "EPS", 1024), (1280, "EPS", 1024)],
)  # fmt: skip
def test_native_sizes_are_told_from_the_configuration(context, model_type, native):
    model = ModelPatcher(BaseModel(UNetModel(UNET), context, model_type))
    side = native // 8
    x = torch.randn(1, 4, 2 * side, side // 8)
    if context != 2048:  # SDXL's buckets have many shapes
        plan = plans_for(model.model)((2 * side, side // 8), True)
        assert plan.dilation and set(plan.dilation.values()) == {(2.0, 1.0)}
        close(predict(redilate_model(model), x, HIGH, CONTEXT[:1]), in_diffusers(x, 900, plan))
    assert torch.equal(
        predict(redilate_model(model), x[..., :side, :], HIGH, CONTEXT[:1]),
        predict(model, x[..., :side, :], HIGH, CONTEXT[:1]),
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"plan": "{"}, "this is not a plan"),
        ({"plan": '{"dilatoin": {}}'}, "this is not a plan: dilatoin: Extra inputs are not permitted"),
        ({"plan": Plan(noise_damping=NoiseDamping(dilation={}, until=0.5)).model_dump_json()}, "ND-CFG"),
        ({"plan": '{"windows": {"size": {"x.attn1": [8, 8]}}}'}, "has windows"),
        ({"plan": Plan(dilation={"mid_block.nothing": (2, 2)}).model_dump_json()}, "mid_block.nothing"),
        ({}, "native_size"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_sampling(model, arguments, says):
    model.model.model_config.unet_config.clear()
    with pytest.raises(RedilateError, match=says):
        redilate_model(model, **arguments)


def test_a_transformer_is_refused(model):
    model.model.diffusion_model = nn.TransformerEncoderLayer(8, 1)
    with pytest.raises(RedilateError, match="TransformerEncoderLayer is no U-Net"):
        redilate_model(model)


def test_an_old_comfyui_is_told_what_works(model):
    with pytest.raises(RedilateError, match=r"needs 0\.3\.7 or later"):
        redilate_model(SimpleNamespace(model=model.model))


def test_the_node_takes_what_it_declares(model):
    node = NODE_CLASS_MAPPINGS["RedilateModel"]
    assert list(node.INPUT_TYPES()["required"]) == ["model", "native_size"]
    (patched,) = getattr(node(), node.FUNCTION)(model=model, native_size=128)
    assert torch.equal(
        predict(patched, X, HIGH, CONTEXT), predict(redilate_model(model, 128), X, HIGH, CONTEXT)
    )
