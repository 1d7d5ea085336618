"""`apply` and `remove` on stock pipelines: exactness, reversibility, and ND-CFG against a hand-written loop."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import diffusers
import pytest
import torch
from torch import nn

import redilate
from redilate import NoiseDamping, Plan, RedilateError
from redilate.core.guidance import GuidanceLayout, KeptDelta
from redilate.core.patch import find_patch
from redilate.plans.plan import block_of, convolutions
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture(params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, width=256, height=256, steps=3, guidance=4.0, **arguments):
    return pipe(
        "a red apple",
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        **arguments,
    ).images


def traces(pipe):
    """All by which a U-Net could tell that it was patched: types, attributes, hooks."""
    return [
        (
            name,
            type(module),
            sorted(module.__dict__),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
        )
        for name, module in pipe.unet.named_modules()
    ]


def everywhere(pipe, factor=(2.0, 2.0), **fields):
    return Plan(dilation=dict.fromkeys(convolutions(pipe.unet), factor), until=0.3, **fields)


def with_damping(pipe):
    names = convolutions(pipe.unet)
    mild = {name: (2.0, 2.0) for name in names if block_of(name) == "mid_block"}
    return everywhere(pipe, noise_damping=NoiseDamping(dilation=mild, until=0.3, reuse=0.0))


def test_at_the_native_size_the_plan_is_neutral_and_the_result_bit_exact(pipe):
    plain = draw(pipe)
    with redilate.apply(pipe) as handle:
        assert torch.equal(draw(pipe), plain)
        assert handle.plan.is_neutral


def test_a_plan_of_ones_is_the_bit_exact_identity_at_any_size(pipe):
    plain = draw(pipe, width=384)
    with redilate.apply(pipe, everywhere(pipe, (1.0, 1.0))):
        assert torch.equal(draw(pipe, width=384), plain)


def test_removing_leaves_no_trace_and_bit_exact_outputs(pipe):
    plain, before = draw(pipe, width=512), traces(pipe)
    handle = redilate.apply(pipe)
    changed = draw(pipe, width=512)
    assert changed.shape == plain.shape and not torch.equal(changed, plain)
    redilate.remove(pipe)
    assert traces(pipe) == before
    assert torch.equal(draw(pipe, width=512), plain)
    handle.remove()  # again, to no harm
    redilate.remove(pipe)


def test_the_plan_follows_the_size_of_the_latents_that_arrive(pipe):
    with redilate.apply(pipe) as handle:
        draw(pipe, width=512)
        assert set(handle.plan.dilation.values()) == {(1.0, 2.0)}
        draw(pipe, height=512)
        assert set(handle.plan.dilation.values()) == {(2.0, 1.0)}
        draw(pipe)
        assert handle.plan.is_neutral


def test_applying_twice_replaces(pipe):
    before = traces(pipe)
    redilate.apply(pipe, everywhere(pipe, (3.0, 3.0)))
    redilate.apply(pipe, everywhere(pipe))
    twice = draw(pipe, width=512)
    redilate.remove(pipe)
    with redilate.apply(pipe, everywhere(pipe)):
        assert torch.equal(draw(pipe, width=512), twice)
    assert traces(pipe) == before


@pytest.mark.parametrize("damped", [False, True], ids=["plain", "nd-cfg"])
def test_an_exception_inside_a_generation_leaves_a_pipeline_that_can_be_reused_and_removed(pipe, damped):
    plain, before = draw(pipe, width=512), traces(pipe)
    plan = with_damping(pipe) if damped else everywhere(pipe)
    redilate.apply(pipe, plan)
    whole = draw(pipe, width=512)
    calls = 0

    def fail(module, args):
        nonlocal calls
        calls += 1
        if calls == 4:  # with ND-CFG the fourth is a mild evaluation
            raise RuntimeError("out of memory")

    hook = pipe.unet.mid_block.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        draw(pipe, width=512, steps=5)
    hook.remove()
    assert torch.equal(draw(pipe, width=512), whole)
    redilate.remove(pipe)
    assert traces(pipe) == before and torch.equal(draw(pipe, width=512), plain)


def test_the_context_manager_removes_after_an_exception(pipe):
    before = traces(pipe)
    with pytest.raises(KeyError), redilate.apply(pipe):
        raise KeyError
    assert traces(pipe) == before


def test_nd_cfg_takes_exactly_three_evaluations_while_it_runs_and_two_after(pipe):
    batches = []
    pipe.unet.register_forward_pre_hook(
        lambda _, args, kwargs: batches.append(args[0].shape[0]), with_kwargs=True
    )
    plan = with_damping(pipe)
    with redilate.apply(pipe, plan):
        draw(pipe, width=512, steps=10)
    levels = pipe.scheduler.timesteps / 1000
    damped = int((levels >= 0.3).sum())
    assert 0 < damped < 10
    assert sum(batches) == 3 * damped + 2 * (10 - damped)


def test_a_kept_delta_spares_evaluations_and_is_never_anothers(pipe):
    batches = []
    pipe.unet.register_forward_pre_hook(
        lambda _, args, kwargs: batches.append(args[0].shape[0]), with_kwargs=True
    )

    def reusing(reuse):
        plan = with_damping(pipe)
        return plan.model_copy(
            update={"noise_damping": plan.noise_damping.model_copy(update={"reuse": reuse})}
        )

    with redilate.apply(pipe, reusing(0.0)):
        every = draw(pipe, width=384, steps=10)
    with redilate.apply(pipe, reusing(0.05)):  # less than a step
        assert torch.equal(draw(pipe, width=384, steps=10), every)
    with redilate.apply(pipe, reusing(0.25)):
        batches.clear()
        kept = draw(pipe, width=384, steps=10)
        assert sum(batches) == 2 * 10 + 3  # at 0.9, 0.6 and 0.3
        assert not torch.equal(kept, every)
        assert torch.equal(draw(pipe, width=384, steps=10), kept)

        def stop(_pipe, index, _timestep, arguments):
            if index == 1:
                raise KeyboardInterrupt
            return arguments

        with pytest.raises(KeyboardInterrupt):
            draw(pipe, width=384, steps=4, callback_on_step_end=stop)
        # Starts between the two noise levels that were kept last, at the same size.
        assert torch.equal(draw(pipe, width=384, steps=10), kept)


def test_a_kept_delta_serves_its_own_generation_only():
    condition, other = torch.zeros(2, 3), torch.zeros(2, 3)
    torch.manual_seed(0)
    sample, view = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    kept = KeptDelta(torch.zeros(1, 4, 8, 8), 0.8, sample, weakref.ref(condition))
    assert kept.is_usable(0.7, 0.2, sample, condition)
    assert kept.is_usable(0.6, 0.2, sample, condition) and 0.8 - 0.6 > 0.2  # in binary fractions, that is
    assert kept.is_usable(0.7, 0.2, sample + 0.5 * view + 3, condition)  # a step on, of another colour
    assert not kept.is_usable(
        0.7, 0.2, view + 3, condition
    )  # another view of the same prompt, as a panorama has it
    assert not kept.is_usable(0.8, 0.2, sample, condition) and not kept.is_usable(0.9, 0.2, sample, condition)
    assert not kept.is_usable(0.5, 0.2, sample, condition)
    assert not kept.is_usable(0.7, 0.2, torch.cat([sample, sample], -1), condition)
    assert not kept.is_usable(0.7, 0.2, sample, other) and not kept.is_usable(0.7, 0.2, sample, None)
    del condition
    assert not kept.is_usable(0.7, 0.2, sample, None)


def test_views_of_one_panorama_never_take_each_others_delta(pipe):
    """Every view comes with the same text embeddings, size and level; only the latents tell them apart."""
    plan = with_damping(pipe)
    keeping = plan.noise_damping.model_copy(update={"reuse": 0.25})
    views = [torch.randn(1, 4, 48, 48, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    text, added = torch.randn(2, 3, pipe.unet.config.cross_attention_dim), {}
    if pipe.unet.config.addition_embed_type == "text_time":
        added = {"text_embeds": torch.randn(2, 8), "time_ids": torch.randn(2, 6)}

    def panorama(damping, views):
        one = plan.model_copy(update={"noise_damping": damping})
        with redilate.apply(pipe, one, layout=GuidanceLayout()), torch.no_grad():
            return [
                pipe.unet(torch.cat([view, view]), timestep, text, added_cond_kwargs=added).sample
                for timestep in (900.0, 860.0, 820.0)
                for view in views
            ]

    assert all(map(torch.equal, panorama(keeping, views), panorama(plan.noise_damping, views)))
    # One view alone does keep it, so that the above says something.
    kept, every = panorama(keeping, views[:1]), panorama(plan.noise_damping, views[:1])
    assert [torch.equal(*both) for both in zip(kept, every, strict=True)] == [True, False, False]


def test_without_guidance_there_is_no_damping(pipe):
    batches = []
    pipe.unet.register_forward_pre_hook(
        lambda _, args, kwargs: batches.append(args[0].shape[0]), with_kwargs=True
    )
    with redilate.apply(pipe, with_damping(pipe)):
        draw(pipe, width=512, guidance=1.0)
    assert batches == [1, 1, 1]


def spread(unet, factors):
    """A U-Net whose convolutions have other `dilation` and `padding` attributes: nothing of ours at work."""
    twin = copy.deepcopy(unet)
    for name, (conv,) in convolutions(twin).items():
        height, width = (int(axis) for axis in factors.get(name, (1, 1)))
        conv.dilation, conv.padding = (height, width), (height, width)
    return twin


SCHEDULERS = [
    "DDIM",
    "PNDM",
    "EulerDiscrete",
    "HeunDiscrete",
    "DPMSolverMultistep",
    "UniPCMultistep",
    "LMSDiscrete",
]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "prediction"),
    [(name, "epsilon") for name in SCHEDULERS]
    + [(name, "v_prediction") for name in ("DDIM", "EulerDiscrete", "DPMSolverMultistep")],
)
def test_nd_cfg_equals_a_hand_written_loop(name, prediction):
    pipe = tiny_sd15()
    pipe.set_progress_bar_config(disable=True)
    kind = getattr(diffusers, name + "Scheduler")
    pipe.scheduler = kind.from_config(pipe.scheduler.config, prediction_type=prediction)
    weight, steps, until = 5.0, 6, 0.3
    plan = with_damping(pipe)
    latents = torch.randn(1, 4, 32, 64, generator=torch.Generator().manual_seed(3))
    with redilate.apply(pipe, plan):
        ours = draw(pipe, width=512, steps=steps, guidance=weight, latents=latents.clone())

    strong, mild = spread(pipe.unet, plan.dilation), spread(pipe.unet, plan.noise_damping.dilation)
    text, empty = pipe.encode_prompt("a red apple", "cpu", 1, True)
    scheduler = kind.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    x = latents * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        networks = (strong, mild) if float(t) / 1000 >= until else (pipe.unet, pipe.unet)
        guidance = networks[0](scaled, t, text).sample - networks[0](scaled, t, empty).sample
        x = scheduler.step(networks[1](scaled, t, empty).sample + weight * guidance, t, x).prev_sample
    assert (ours - x).abs().max() / x.abs().max() < 5e-5


def test_a_deep_copy_of_a_patched_unet_is_patched_on_its_own(pipe):
    redilate.apply(pipe, everywhere(pipe))
    changed = draw(pipe, width=512)
    original, pipe.unet = pipe.unet, copy.deepcopy(pipe.unet)
    assert torch.equal(draw(pipe, width=512), changed)
    redilate.remove(pipe)
    assert find_patch(pipe.unet) is None and find_patch(original) is not None


def test_a_lora_loaded_after_apply_is_re_dilated_too(pipe):
    from peft import LoraConfig

    config = LoraConfig(r=2, target_modules=["conv1"], init_lora_weights=False)
    redilate.apply(pipe, everywhere(pipe))
    draw(pipe, width=512)
    torch.manual_seed(1)
    pipe.unet.add_adapter(config)
    after = draw(pipe, width=512)
    assert any(
        ".lora_A." in name for name, conv in pipe.unet.named_modules() if "Redilated" in type(conv).__name__
    )
    redilate.remove(pipe)
    with redilate.apply(pipe, everywhere(pipe)):
        assert torch.equal(draw(pipe, width=512), after)
    assert not any("Redilated" in type(module).__name__ for module in pipe.unet.modules())


def test_a_lora_that_takes_anothers_place_is_re_dilated_too(pipe):
    from peft import LoraConfig

    def load(name):
        torch.manual_seed(1)
        config = LoraConfig(r=2, target_modules=["conv1"], init_lora_weights=False)
        pipe.unet.add_adapter(config, adapter_name=name)

    redilate.apply(pipe, everywhere(pipe))
    drawn = []
    for name in ("a", "b"):
        load(name)
        drawn.append(draw(pipe, width=512))
        downs = [module for place, module in pipe.unet.named_modules() if place.endswith(f"lora_A.{name}")]
        assert downs and all("_redilation" in conv.__dict__ for conv in downs)
        pipe.unload_lora_weights()
    assert torch.equal(*drawn), "of equal weights"


def test_a_handle_that_was_replaced_leaves_the_next_one_alone(pipe):
    before = traces(pipe)
    with redilate.apply(pipe, everywhere(pipe)):
        ours = draw(pipe, width=512)
    outer = redilate.apply(pipe)
    with redilate.apply(pipe, everywhere(pipe)):
        outer.remove()
        assert torch.equal(draw(pipe, width=512), ours)
    assert traces(pipe) == before


def in_a_thread(action):
    """What `action` returned or raised in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(action).result()


def test_a_network_that_a_living_thread_has_re_dilated_is_refused_to_another(pipe):
    redilate.apply(pipe, everywhere(pipe))
    ours, before = draw(pipe, width=512), traces(pipe)
    with pytest.raises(RedilateError, match=r"another thread, 'MainThread', has re-dilated.*take turns"):
        in_a_thread(lambda: redilate.apply(pipe))
    assert traces(pipe) == before
    assert torch.equal(in_a_thread(lambda: draw(pipe, width=512)), ours), "one after another they may call it"
    redilate.remove(pipe)
    in_a_thread(lambda: redilate.apply(pipe))
    redilate.apply(pipe).remove()  # that thread is gone
    assert find_patch(pipe.unet) is None


@pytest.mark.parametrize("damped", [False, True], ids=["plain", "nd-cfg"])
def test_two_threads_calls_at_once_are_refused_and_the_first_is_not_disturbed(pipe, damped):
    redilate.apply(pipe, with_damping(pipe) if damped else everywhere(pipe))
    whole, refused = draw(pipe, width=512), []

    def intrude(*_):
        for action in (lambda: draw(pipe, width=256, steps=1), lambda: redilate.remove(pipe)):
            with pytest.raises(RedilateError, match=r"another thread's call .* is under way") as caught:
                in_a_thread(action)
            refused.append(caught.value)

    hook = pipe.unet.mid_block.register_forward_pre_hook(intrude)
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, 4, 32, 64, generator=generator)
    with torch.no_grad():
        text = pipe.encode_prompt(
            "a red apple", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
        )
        added = {"text_embeds": torch.zeros(2, 8), "time_ids": torch.zeros(2, 6)}
        given = {"encoder_hidden_states": torch.cat([text[1], text[0]])}
        if pipe.unet.config.addition_embed_type:
            given["added_cond_kwargs"] = added
        disturbed = pipe.unet(latents, 900, **given).sample
        hook.remove()
        assert refused and torch.equal(pipe.unet(latents, 900, **given).sample, disturbed)
    assert torch.equal(draw(pipe, width=512), whole)
    redilate.remove(pipe)


def test_save_pretrained_of_a_patched_pipeline_saves_the_original(pipe, tmp_path):
    plain = draw(pipe, width=512)
    with redilate.apply(pipe):
        draw(pipe, width=512)
        pipe.save_pretrained(tmp_path)
    again = type(pipe).from_pretrained(tmp_path, safety_checker=None)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(draw(again, width=512), plain)


def test_a_discarded_pipeline_is_freed(pipe):
    pipe = tiny_sd15()
    redilate.apply(pipe)
    watched = weakref.ref(pipe.unet)
    del pipe
    gc.collect()
    assert watched() is None


def test_a_plan_that_names_unknown_modules_is_refused_before_anything_is_touched(pipe):
    before = traces(pipe)
    with pytest.raises(RedilateError, match=r"names 1 modules.*'blocks\.7\.conv'"):
        redilate.apply(pipe, Plan(dilation={"blocks.7.conv": (2, 2)}))
    assert traces(pipe) == before


def test_a_transformer_is_refused_by_name():
    class FluxPipeline:
        transformer = nn.Linear(2, 2)

    with pytest.raises(RedilateError, match=r"FluxPipeline has no diffusion U-Net"):
        redilate.apply(FluxPipeline())


def test_single_options_stand_in_place_of_the_plans_own(pipe):
    default = redilate.plan_for(pipe, width=512, height=512, strength=1)
    with redilate.apply(pipe, until=0.9, schedule="smooth", dispersed=True, noise_damping=True) as handle:
        assert redilate.is_applied(pipe)
        draw(pipe, width=512, height=512)
        changed = handle.plan
    assert not redilate.is_applied(pipe)
    assert (changed.until, changed.schedule) == (0.9, "smooth") and changed.noise_damping is not None
    assert changed.dispersed == set(default.dilation) == set(changed.dilation)
    with redilate.apply(pipe, default, low_pass=True) as handle:
        filtered = handle.plan.low_passed
        assert filtered == {name for name in default.dilation if ".upsamplers." not in name}
    with redilate.apply(pipe, default, until=0.1, windows=0.5) as handle:
        draw(pipe, width=512, height=512)
        assert handle.plan.until == 0.1 and handle.plan.windows.below == 0.5
    with pytest.raises(redilate.RedilateError, match="until"):
        redilate.apply(pipe, default, until=3.0)
    assert not redilate.is_applied(pipe)
