"""Any size and ratio, on every family: no crash, no wrong size, and a plan that makes sense."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st

import redilate
from redilate import NoiseDamping, Plan
from redilate.plans.plan import convolutions
from tests.full_size import full_size_unet
from tests.models import tiny_sd15, tiny_sdxl

MODELS = {
    "sd15": tiny_sd15().unet,
    "sdxl": tiny_sdxl().unet,
    "pruned": UNet2DConditionModel.from_config(
        tiny_sdxl().unet.config, mid_block_type=None, layers_per_block=1
    ),
}
NAMES = {name: list(convolutions(unet)) for name, unet in MODELS.items()}
LATENT = st.integers(4, 44)
QUICK = settings(deadline=None, max_examples=25, derandomize=True)
axis = st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0, 4.0])


@st.composite
def plans(draw, model):
    """Any plan: whole and fractional dilations, per axis, dispersed or not, in both forms, with and without ND-CFG."""
    chosen = draw(st.lists(st.sampled_from(NAMES[model]), max_size=6))
    dilation = {name: (draw(axis), draw(axis)) for name in chosen}
    damping = NoiseDamping(dilation={}, until=0.1) if draw(st.booleans()) else None
    dilated = [name for name, factor in dilation.items() if factor != (1, 1)]
    return Plan(
        dilation=dilation,
        until=draw(st.sampled_from([0.0, 0.5])),
        schedule=draw(st.sampled_from(["hold", "progressive", "smooth"])),
        noise_damping=damping,
        dispersed=frozenset(dilated if draw(st.booleans()) else ()),
        fractional=draw(st.sampled_from(["taps", "channels", "published"])),
    )


def predict(unet, height, width, timestep=900.0):
    width_of_text = unet.config.cross_attention_dim
    extra = {"text_embeds": torch.zeros(1, 8), "time_ids": torch.zeros(1, 6)}
    sample = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return unet(sample, timestep, torch.zeros(1, 3, width_of_text), added_cond_kwargs=extra).sample


@pytest.mark.compatibility("sizes", "Any size that latents can have", "odd latents and every ratio, any plan")
@given(data=st.data(), model=st.sampled_from(sorted(MODELS)), height=LATENT, width=LATENT)
@QUICK
def test_any_plan_at_any_size_gives_an_output_of_the_inputs_size(data, model, height, width):
    unet = MODELS[model]
    with redilate.apply(unet, data.draw(plans(model)), preset="default"):
        out = predict(unet, height, width)
    assert out.shape == (1, 4, height, width) and out.isfinite().all()


@pytest.mark.compatibility(
    "sizes", "The plan that follows from a size", "against native sizes of every shape"
)
@given(
    model=st.sampled_from(sorted(MODELS)),
    height=LATENT,
    width=LATENT,
    native=st.sampled_from([64, 128, (64, 128), (256, 96)]),
)
@QUICK
def test_the_plan_that_follows_from_the_size_draws_at_that_size(model, height, width, native):
    unet = MODELS[model]
    plan = redilate.plan_for(unet, width=8 * width, height=8 * height, strength=1, native_size=native)
    sides = (native, native) if isinstance(native, int) else native
    for factor in plan.dilation.values():
        for d, latents, side in zip(factor, (height, width), sides, strict=True):
            assert 1 <= d <= max(1, 8 * latents / side + 0.5)
            assert d == 1 or 8 * latents > side
    with redilate.apply(unet, native_size=native) as handle:
        out = predict(unet, height, width)
        assert handle.plan == plan
    assert out.shape == (1, 4, height, width) and out.isfinite().all()


FULL = {family: full_size_unet(family) for family in ("sd15", "sd21", "sdxl")}
PIXELS = st.integers(8, 640).map(lambda eighths: 8 * eighths)


@pytest.mark.compatibility(
    "sizes",
    "A plan for every size up to 5120×5120",
    "Stable Diffusion 1.5, 2.1 and SDXL at full size, both presets",
)
@given(
    family=st.sampled_from(sorted(FULL)),
    preset=st.sampled_from(["default", "published"]),
    height=PIXELS,
    width=PIXELS,
)
@settings(deadline=None, max_examples=100, derandomize=True)
def test_every_family_and_preset_has_a_plan_for_every_size(family, preset, height, width):
    unet = FULL[family]
    plan = redilate.plan_for(unet, width=width, height=height, preset=preset)
    turned = redilate.plan_for(unet, width=height, height=width, preset=preset)
    assert turned.dilation == {name: (d_w, d_h) for name, (d_h, d_w) in plan.dilation.items()}
    side = unet.config.sample_size * 8
    if height <= side and width <= side:
        assert plan.is_neutral
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert str(plan)
