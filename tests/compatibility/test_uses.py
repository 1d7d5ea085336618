"""What people do with a pipeline besides calling it: LoRA, batches, callbacks, sharing, saving."""

import copy

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig

import redilate
from redilate import Plan
from redilate.core.guidance import GuidanceLayout
from redilate.core.patch import find_patch
from redilate.plans.plan import convolutions
from tests.compatibility.reference import Recorder, damped_plan, spread
from tests.compatibility.samples import HEIGHT, WIDTH, picture, quiet
from tests.compatibility.uses import draw, draw_damped, row
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture
def pipe():
    return quiet(tiny_sdxl())


def add_lora(pipe, **fields):
    torch.manual_seed(1)
    targets = {"target_modules": ["conv1", "conv2", "to_q", "conv"], "r": 2, "init_lora_weights": False}
    pipe.unet.add_adapter(LoraConfig(**targets | fields))


@row("LoRA with convolution layers", "loaded before or after `apply`, fused, unloaded")
def test_a_lora_on_convolutions_is_dilated_whenever_it_is_loaded(pipe):
    bare = draw_damped(pipe)
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        draw(pipe)
        add_lora(pipe)
        loaded_after = draw(pipe)
        ours = [conv for conv in pipe.unet.modules() if type(conv).__name__ == "RedilatedConv2d"]
        assert len(ours) == 2 * len(convolutions(pipe.unet)), "base layers and down-projections alike"
    plan = Plan(dilation=dict.fromkeys(convolutions(pipe.unet), (2.0, 2.0)))
    with redilate.apply(pipe, plan):
        watched = Recorder(pipe.unet)
        draw(pipe)
        watched.stop()
    assert torch.allclose(watched.output[0], watched.recompute(plan.dilation)[0], atol=2e-5)
    assert torch.equal(draw_damped(pipe), loaded_after)
    pipe.fuse_lora(components=["unet"])
    assert torch.allclose(draw_damped(pipe), loaded_after, atol=1e-3)
    pipe.unfuse_lora(components=["unet"])
    pipe.unet.delete_adapters("default")
    pipe.unload_lora_weights()
    assert torch.allclose(draw_damped(pipe), bare, atol=1e-4)  # unfusing rounds


@row("LoRA without convolution layers", "attention only")
def test_a_lora_on_attention_changes_nothing_for_us(pipe):
    bare = draw_damped(pipe)
    add_lora(pipe, target_modules=["to_q", "to_k", "to_v"])
    before = draw_damped(pipe)
    assert not torch.equal(before, bare)
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        pipe.disable_lora()
        assert torch.allclose(draw(pipe), bare, atol=1e-5)
        pipe.enable_lora()
        assert torch.equal(draw(pipe), before)


@row("Saved LoRA files", "`save_lora_weights` of a re-dilated pipeline, `load_lora_weights` into one")
def test_lora_files_pass_through_a_patched_pipeline(pipe, tmp_path):
    from peft.utils import get_peft_model_state_dict

    add_lora(pipe)
    ours = draw_damped(pipe)
    with redilate.apply(pipe):
        state = get_peft_model_state_dict(pipe.unet)
        pipe.save_lora_weights(tmp_path, unet_lora_layers=state)
    fresh = quiet(tiny_sdxl())
    with redilate.apply(fresh, damped_plan(fresh.unet)):
        fresh.load_lora_weights(tmp_path)
        # `lora_alpha` is not in the file; the rank is taken for it.
        assert draw(fresh).shape == ours.shape
        assert any(".lora_A" in name for name, _ in fresh.unet.named_modules())


@row("Several images for each prompt", "`num_images_per_prompt` with a list of generators; lists of prompts")
def test_a_batch_draws_what_single_pictures_draw(pipe):
    seeds = (3, 4)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        several = draw(pipe, num_images_per_prompt=2, generator=generators)
        single = torch.cat([draw(pipe, seed=seed) for seed in seeds])
        listed = pipe(
            ["a red apple"] * 2,
            width=WIDTH,
            height=HEIGHT,
            guidance_scale=4.0,
            num_inference_steps=2,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="latent",
        ).images
    assert torch.allclose(several, single, atol=1e-4) and torch.allclose(several, listed, atol=1e-4)


@row("`callback_on_step_end`", "among them one that ends guidance in mid-picture")
def test_a_callback_may_end_guidance(pipe):
    seen = []

    def end_guidance(pipe, step, timestep, tensors):
        seen.append(step)
        if step == 0:
            pipe._guidance_scale = 0.0
            return {name: value.chunk(2)[-1] for name, value in tensors.items()}
        return {}

    names = ["prompt_embeds", "add_text_embeds", "add_time_ids"]
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        watched = Recorder(pipe.unet)
        draw(pipe, callback_on_step_end=end_guidance, callback_on_step_end_tensor_inputs=names, steps=3)
        watched.stop()
    assert seen == [0, 1, 2]
    assert [rows for rows, _ in watched.main] == [2, 1, 1] and watched.extra == [1]


@row("`guidance_rescale`", "runs; ND-CFG is then an approximation")
def test_guidance_rescale_runs(pipe):
    ours = draw_damped(pipe, guidance_rescale=0.7)
    assert ours.isfinite().all() and not torch.equal(ours, draw_damped(pipe))


@row("`from_pipe`", "pipelines that share the U-Net, each with its own guidance and scheduler")
def test_a_second_pipeline_around_the_same_unet_speaks_for_itself(pipe):
    second = quiet(diffusers.StableDiffusionXLImg2ImgPipeline.from_pipe(pipe))
    second.scheduler = diffusers.EDMEulerScheduler()
    arguments = {"image": picture(), "strength": 0.99, "num_inference_steps": 4, "output_type": "latent"}
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        draw(pipe, guidance_scale=1.0)  # leaves the first pipeline unguided
        watched = Recorder(pipe.unet)
        second("a red apple", guidance_scale=4.0, **arguments)
        watched.stop()
        assert watched.extra[:1] == [1]
    handle = redilate.apply(pipe)
    unet = pipe.unet
    del pipe
    second.scheduler = tiny_sdxl().scheduler
    assert second("a red apple", guidance_scale=4.0, **arguments).images.isfinite().all()
    handle.remove()
    assert find_patch(unet) is None


@row("A loop of one's own", "`apply(pipe, layout=…)` says where ∅ stands")
def test_a_users_own_loop_says_how_its_batch_is_laid_out():
    pipe = quiet(tiny_sd15())
    plan = damped_plan(pipe.unet)
    text = torch.cat(pipe.encode_prompt("a red apple", "cpu", 1, True))
    sample = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), redilate.apply(pipe, plan):
        strong = pipe.unet(sample, 900, text).sample
    with torch.no_grad(), redilate.apply(pipe, plan, layout=GuidanceLayout(chunks=2, unconditional=1)):
        damped = pipe.unet(sample, 900, text).sample
    with torch.no_grad():
        mild = spread(pipe.unet, plan.noise_damping.dilation)(sample[1:], 900, text[1:]).sample
    assert torch.allclose(damped, strong + (mild - strong[1:]), atol=2e-5)


class Loop:
    """A loop of one's own in a class with the parts of a pipeline, that guides with ∅ last."""

    def __init__(self, pipe):
        self.unet, self.scheduler = pipe.unet, pipe.scheduler

    def step(self, sample, timestep, text):
        return self.unet(sample, timestep, text).sample


class DerivedLoop(DiffusionPipeline):
    def __init__(self, pipe):
        super().__init__()
        self.register_modules(unet=pipe.unet, scheduler=pipe.scheduler)

    step = Loop.step


@row("A loop of one's own", "`apply(pipe, layout=…)` says where ∅ stands")
def test_a_loop_in_a_class_of_ones_own_is_asked_for_its_layout_too():
    pipe = quiet(tiny_sd15())
    plan, loop = damped_plan(pipe.unet), Loop(pipe)
    text = torch.cat(pipe.encode_prompt("a red apple", "cpu", 1, True))
    sample = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), redilate.apply(pipe, plan, layout=GuidanceLayout(chunks=2, unconditional=1)):
        damped = pipe.unet(sample, 900, text).sample
        assert torch.equal(loop.step(sample, 900, text), damped)
        batches = []
        watch = pipe.unet.register_forward_pre_hook(lambda _, args: batches.append(args[0].shape[0]))
        draw(pipe, guidance_scale=1.0)  # diffusers' own speaks for itself
        watch.remove()
        assert batches == [1, 1]
        # Derived from diffusers' own, it still does not say whether it guides.
        assert torch.equal(DerivedLoop(pipe).step(sample, 900, text), damped)


@row("`from_single_file` of a U-Net", "`UNet2DConditionModel.from_single_file`")
def test_a_unet_from_a_single_file(pipe, tmp_path):
    from safetensors.torch import save_file

    ours = draw_damped(pipe)
    pipe.unet.save_config(tmp_path)
    save_file(pipe.unet.state_dict(), tmp_path / "unet.safetensors")
    kind = type(pipe.unet)
    pipe.unet = kind.from_single_file(str(tmp_path / "unet.safetensors"), config=str(tmp_path))
    assert torch.allclose(draw_damped(pipe), ours, atol=1e-4)


@row("`save_pretrained`", "of a re-dilated pipeline saves the original")
def test_a_saved_pipeline_is_the_original(pipe, tmp_path):
    with redilate.apply(pipe, damped_plan(pipe.unet)):
        draw(pipe)
        pipe.save_pretrained(tmp_path)
    again = quiet(type(pipe).from_pretrained(tmp_path))
    assert type(again.unet) is type(pipe.unet) and find_patch(again.unet) is None
    saved = again.unet.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in pipe.unet.state_dict().items())
    assert torch.allclose(draw(again), draw(pipe), atol=1e-4)


@row("Deep copies", "a copy of a re-dilated U-Net is re-dilated on its own")
def test_a_deep_copy_with_damping(pipe):
    ours = draw_damped(pipe)
    redilate.apply(pipe, damped_plan(pipe.unet))
    pipe.unet = copy.deepcopy(pipe.unet)
    assert torch.equal(draw(pipe), ours)
