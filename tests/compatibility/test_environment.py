"""Where and how a pipeline runs: offload, memory formats, precision, attention slicing, FreeU, circular padding."""

import accelerate
import pytest
import torch

import redilate
from redilate import Plan
from redilate.core.conv import Dispersion
from redilate.core.patch import find_patch
from redilate.plans.plan import convolutions
from tests.compatibility.reference import damped_plan
from tests.compatibility.samples import HEIGHT, WIDTH, quiet
from tests.compatibility.uses import draw, draw_damped, row
from tests.models import tiny_sdxl


@pytest.fixture
def pipe():
    return quiet(tiny_sdxl())


@row("Model offload", "accelerate's hooks, put on before or after `apply` (run on a CPU)")
@pytest.mark.parametrize("first", ["apply", "offload"])
def test_model_offload(pipe, first):
    ours = draw_damped(pipe)
    hook = accelerate.cpu_offload_with_hook(pipe.unet, "cpu")[1] if first == "offload" else None
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        if hook is None:
            _, hook = accelerate.cpu_offload_with_hook(pipe.unet, "cpu")
        assert torch.equal(draw(pipe), ours)
        hook.offload()
        assert torch.equal(draw(pipe), ours)
    hook.remove()
    assert find_patch(pipe.unet) is None and torch.equal(draw_damped(pipe), ours)


@row(
    "Sequential offload",
    "weights come for one forward at a time; dispersed kernels are made in it (run on a CPU)",
)
@pytest.mark.parametrize("first", ["apply", "offload"])
def test_sequential_offload(pipe, first):
    names = convolutions(pipe.unet)
    plan = damped_plan(pipe.unet).model_copy(
        update={"dispersed": frozenset(names), "dispersion": Dispersion(input_size=3)}
    )
    with redilate.apply(pipe, plan):
        ours = draw(pipe)
    if first == "offload":
        accelerate.cpu_offload(pipe.unet, "cpu")
    redilate.apply(pipe, plan)
    if first == "apply":
        draw(pipe)
        accelerate.cpu_offload(pipe.unet, "cpu")
    assert pipe.unet.mid_block.resnets[0].conv1.weight.device.type == "meta"
    drawn = [
        pipe(
            prompt_embeds=embeds[0],
            negative_prompt_embeds=embeds[1],
            pooled_prompt_embeds=embeds[2],
            negative_pooled_prompt_embeds=embeds[3],
            width=WIDTH,
            height=HEIGHT,
            guidance_scale=4.0,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(3),
            output_type="latent",
        ).images
        for embeds in [pipe.encode_prompt("a red apple", device="cpu")] * 2
    ]
    assert torch.equal(drawn[0], ours) and torch.equal(drawn[1], ours)


@row("`channels_last`", "`unet.to(memory_format=torch.channels_last)`")
def test_channels_last(pipe):
    ours = draw_damped(pipe)
    pipe.unet.to(memory_format=torch.channels_last)
    assert torch.allclose(draw_damped(pipe), ours, atol=1e-3)


@row("bfloat16, float16", "the U-Net's weights and latents")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision(pipe, dtype):
    names = convolutions(pipe.unet)
    plan = Plan(dilation=dict.fromkeys(names, (2.0, 1.5)), dispersed=frozenset(names))
    pipe.to(dtype=dtype)
    with redilate.apply(pipe, plan):
        ours = draw(pipe)
    assert ours.dtype == dtype and ours.isfinite().all()


@row("Layerwise casting", "`enable_layerwise_casting`: float8 storage, wider computation")
def test_layerwise_casting(pipe):
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    plain = draw(pipe)
    ours = draw_damped(pipe)
    assert ours.isfinite().all() and not torch.equal(ours, plain)
    assert torch.equal(draw(pipe), plain)


@row("Attention slicing", "`enable_attention_slicing`")
def test_attention_slicing(pipe):
    ours = draw_damped(pipe)
    pipe.enable_attention_slicing(1)
    assert torch.allclose(draw_damped(pipe), ours, atol=1e-3)


@row("FreeU", "`enable_freeu`")
def test_freeu_works_together_with_re_dilation(pipe):
    ours = draw_damped(pipe)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
    with_freeu = draw_damped(pipe)
    assert with_freeu.isfinite().all() and not torch.equal(with_freeu, ours)
    pipe.disable_freeu()
    assert torch.equal(draw_damped(pipe), ours)


@row("Circular padding", "seamless textures: `conv.padding_mode = 'circular'`")
def test_circular_padding_makes_a_re_dilated_picture_that_wraps_around(pipe):
    for module in pipe.unet.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "circular"
    unet, plan = pipe.unet, Plan(dilation=dict.fromkeys(convolutions(pipe.unet), (2.0, 2.0)))
    text = {"text_embeds": torch.zeros(1, 8), "time_ids": torch.zeros(1, 6)}
    sample = torch.randn(1, 4, 32, 48, generator=torch.Generator().manual_seed(1))

    def predict(latents):
        return unet(latents, 900, torch.zeros(1, 4, 16), added_cond_kwargs=text).sample

    with torch.no_grad(), redilate.apply(pipe, plan):
        rolled = predict(sample.roll((8, 16), (2, 3)))
        assert torch.allclose(rolled, predict(sample).roll((8, 16), (2, 3)), atol=2e-5)
