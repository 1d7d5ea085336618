"""The MODEL node on a U-Net in ComfyUI's layout, against the same weights in diffusers."""

import pytest
import torch
from torch import nn

import redilate
from integrations.comfyui import NODE_CLASS_MAPPINGS
from integrations.comfyui.model import redilate_model
from redilate import NoiseDamping, Plan, RedilateError
from redilate.core.conv import Dispersion
from redilate.plans.structure import convolutions as of_diffusers
from tests.integrations.comfyui.host import BaseModel, ModelPatcher, Sampling, UNetModel, predict
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


def test_without_a_plan_it_follows_from_the_size_of_what_is_sampled(model):
    patched = redilate_model(model, native_size=128)
    for height, width in [(32, 48), (16, 40)]:
        x = X[..., :height, :width]
        plan = redilate.plan_for(UNET, width=8 * width, height=8 * height, native_size=128)
        assert plan.dilation
        close(predict(patched, x, HIGH, CONTEXT), in_diffusers(x, 900, plan))


def test_below_until_at_native_size_and_through_other_copies_it_is_the_model_bit_for_bit(model):
    plain = {sigma: predict(model, X, sigma, CONTEXT) for sigma in (HIGH, LOW)}
    before = classes(model)
    patched = redilate_model(model, native_size=128, until=0.5)
    assert model.model_options == {"transformer_options": {}}
    large = predict(patched, X, HIGH, CONTEXT)
    assert not torch.equal(large, plain[HIGH])
    assert torch.equal(predict(patched, X, LOW, CONTEXT), plain[LOW])
    assert torch.equal(predict(redilate_model(model, native_size=512), X, HIGH, CONTEXT), plain[HIGH])
    copy_of_copy = patched.clone()
    assert torch.equal(predict(copy_of_copy, X, HIGH, CONTEXT), large)
    assert torch.equal(predict(model, X, HIGH, CONTEXT), plain[HIGH])
    assert classes(model) == before and not any("_redilation" in m.__dict__ for m in model.model.modules())


def test_a_call_that_fails_leaves_nothing_behind(model):
    before = classes(model)
    patched = redilate_model(model, native_size=128)
    hook = model.model.diffusion_model.out.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(patched, X, HIGH, CONTEXT)
    hook.remove()
    assert classes(model) == before


def test_a_wrapper_that_was_there_goes_on_working_inside(model):
    seen = []

    def other(apply_model, arguments):
        dressed = [module for module in model.model.modules() if "_redilation" in module.__dict__]
        seen.append(len(dressed))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    alone = predict(redilate_model(model, native_size=128), X, HIGH, CONTEXT)
    model.set_model_unet_function_wrapper(other)
    assert torch.equal(predict(redilate_model(model, native_size=128), X, HIGH, CONTEXT), alone)
    assert seen == [len(NAMES)]


def test_a_schedule_of_its_own_is_followed(model):
    """`ModelSamplingContinuousEDM` counts no timesteps: its σ is looked up on Stable Diffusion's schedule."""
    patched = redilate_model(model, native_size=128, until=0.5)
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
    plan = redilate.plan_for(UNET, width=side, height=16 * side, native_size=native)
    if context != 2048:  # SDXL's buckets have many shapes
        close(predict(redilate_model(model), x, HIGH, CONTEXT[:1]), in_diffusers(x, 900, plan))
    assert torch.equal(
        predict(redilate_model(model), x[..., :side, :], HIGH, CONTEXT[:1]),
        predict(model, x[..., :side, :], HIGH, CONTEXT[:1]),
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"plan": "{"}, "this is not a plan"),
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


def test_the_node_of_the_older_form(model):
    node = NODE_CLASS_MAPPINGS["RedilateModel"]
    inputs = node.INPUT_TYPES()
    assert list(inputs["required"]) == ["model", "native_size", "until"]
    numbers = {name: settings["default"] for name, (_, settings) in list(inputs["required"].items())[1:]}
    (patched,) = getattr(node(), node.FUNCTION)(model=model, **numbers | {"native_size": 128})
    assert torch.equal(
        predict(patched, X, HIGH, CONTEXT), predict(redilate_model(model, 128), X, HIGH, CONTEXT)
    )
