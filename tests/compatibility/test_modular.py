"""SDXL's modular pipelines: re-dilated as they are, and ND-CFG through a guider."""

import pytest
import torch
from diffusers import StableDiffusionXLAutoBlocks
from diffusers.guiders import ClassifierFreeGuidance

import redilate
from redilate.core.patch import find_patch
from redilate.pipelines.guider import NoiseDampedGuidance
from tests.compatibility.reference import Recorder, damped_plan, spread
from tests.compatibility.samples import HEIGHT, WIDTH
from tests.models import tiny_sdxl

WEIGHT = 4.0


@pytest.fixture
def pipe():
    pipe = StableDiffusionXLAutoBlocks().init_pipeline()
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
    parts = tiny_sdxl().components
    pipe.update_components(**{name: parts[name] for name in names})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, guider, steps=2):
    pipe.update_components(guider=guider)
    return pipe(
        prompt="a red apple",
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        output="images",
    )


def count(pipe, guider):
    watched = Recorder(pipe.unet)
    drawn = draw(pipe, guider, steps=4)
    watched.stop()
    return drawn, len(watched.main)


@pytest.mark.compatibility("pipelines", "SDXL, modular", "`StableDiffusionXLModularPipeline`")
def test_a_modular_pipeline_is_re_dilated_with_the_guider_that_it_has(pipe):
    plain = draw(pipe, ClassifierFreeGuidance(guidance_scale=WEIGHT))
    plan = damped_plan(pipe.unet)
    with redilate.apply(pipe, plan):
        watched = Recorder(pipe.unet)
        ours = draw(pipe, ClassifierFreeGuidance(guidance_scale=WEIGHT))
        watched.stop()
    assert ours.shape == plain.shape and not torch.equal(ours, plain)
    assert [rows for rows, _ in watched.main] == [1] * 4 and not watched.extra
    assert torch.equal(draw(pipe, ClassifierFreeGuidance(guidance_scale=WEIGHT)), plain)


@pytest.mark.compatibility("pipelines", "SDXL, modular, ND-CFG through a guider", "`NoiseDampedGuidance`")
def test_the_guider_gives_the_equation_in_three_calls_a_step_and_two_below_the_noise_level(pipe):
    plan = damped_plan(pipe.unet, until=0.5)
    guider = NoiseDampedGuidance(guidance_scale=WEIGHT)
    outputs = []
    with redilate.apply(pipe, plan):
        draw(pipe, guider, steps=1)  # the step after a plan is known is no different from the first
        hook = pipe.unet.register_forward_hook(lambda _, args, output: outputs.append(output[0]))
        watched = Recorder(pipe.unet)
        draw(pipe, guider, steps=4)
        watched.stop()
        hook.remove()
    levels = [level for _, level in watched.main]
    assert len(levels) == sum(3 if level >= 0.5 else 2 for level in sorted(set(levels)))
    assert 8 < len(levels) < 12
    # The second and third calls of the first step differ in the network alone.
    args, kwargs = watched.inputs
    with torch.no_grad():
        assert torch.allclose(spread(watched.twin, plan.dilation)(*args, **kwargs)[0], outputs[0], atol=2e-5)
    assert outputs[1].shape == outputs[2].shape and not torch.equal(outputs[1], outputs[2])
    guided = guider.forward(*outputs[:3]).pred
    assert torch.allclose(guided, outputs[2] + WEIGHT * (outputs[0] - outputs[1]), atol=1e-5)


def test_the_third_call_is_the_mild_networks(pipe):
    plan = damped_plan(pipe.unet)
    calls = []

    def watch(unet, args, kwargs):
        factors = {
            conv._redilation.dilation for conv in find_patch(unet)._exchanged["up_blocks.0.resnets.0.conv1"]
        }
        calls.append((factors, kwargs["encoder_hidden_states"]))

    with redilate.apply(pipe, plan):
        hook = pipe.unet.register_forward_pre_hook(watch, with_kwargs=True)
        draw(pipe, NoiseDampedGuidance(guidance_scale=WEIGHT))
        hook.remove()
    assert [factors for factors, _ in calls[:3]] == [{(2.0, 2.0)}, {(2.0, 2.0)}, {(1.0, 1.0)}]
    assert torch.equal(calls[1][1], calls[2][1]) and not torch.equal(calls[0][1], calls[1][1])


def test_without_re_dilation_or_guidance_the_guider_is_the_ordinary_one(pipe):
    plain = draw(pipe, ClassifierFreeGuidance(guidance_scale=WEIGHT))
    assert torch.equal(draw(pipe, NoiseDampedGuidance(guidance_scale=WEIGHT)), plain)
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        _, calls = count(pipe, NoiseDampedGuidance(guidance_scale=1.0))
    assert calls == 4
