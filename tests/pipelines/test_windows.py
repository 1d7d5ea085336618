"""Windowed self-attention on stock pipelines: what it changes, when, and that it comes off."""

import pytest
import torch

import redilate
from redilate import Plan, RedilateError
from redilate.core.windows import WindowedAttention, from_windows, into_windows, lay_out, shift_at
from redilate.pipelines.support import windowable
from tests.compatibility.sdxl import xl_control, xl_image_prompt, xl_perturbed_attention
from tests.full_size import full_size_unet
from tests.models import tiny_sd15, tiny_sdxl

WIDTH, HEIGHT = 384, 288


@pytest.fixture(params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, width=WIDTH, height=HEIGHT, steps=2, **arguments):
    return pipe(
        "a red apple",
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        **arguments,
    ).images


def traces(pipe):
    return [
        (name, type(module), sorted(module.__dict__), len(module._forward_hooks))
        for name, module in pipe.unet.named_modules()
    ]


def windows_alone(pipe, below, width=WIDTH, height=HEIGHT):
    """A plan that dilates nothing, so that whatever changes, the windows changed it."""
    return Plan(windows=redilate.plan_for(pipe, width=width, height=height, windows=below).windows)


def tokens_seen(pipe, seen):
    """Have every self-attention note (batch, tokens, map's tokens before it) in `seen` by its name."""
    for name, (attention, _) in windowable(pipe.unet).items():
        attention.to_q.register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, []).append(tuple(args[0].shape[:2]))
        )


def test_the_two_outermost_levels_with_attention_see_as_many_tokens_as_in_training():
    for family, outer in (("sdxl", {1: 64, 2: 32}), ("sd15", {0: 64, 1: 32})):
        unet = full_size_unet(family)
        side = 4 * 8 * unet.config.sample_size
        plan = redilate.plan_for(unet, width=side, height=side, windows=0.5)
        levels = {name: level for name, (_, level) in windowable(unet).items()}
        expected = {name: (outer[level],) * 2 for name, level in levels.items() if level in outer}
        assert list(plan.window_sizes(0.49).items()) == list(expected.items())


def test_windows_have_the_shape_that_a_bucket_has():
    plan = redilate.plan_for(full_size_unet("sdxl"), width=4096, height=2048, windows=1.0)
    # 1448 × 724 pixels are native: 45.25 × 90.5 tokens at level 1, 22.6 × 45.25 at level 2.
    assert set(plan.window_sizes(0.0).values()) == {(45, 91), (23, 45)}


def test_at_the_native_size_there_are_none(pipe):
    assert redilate.plan_for(pipe, width=256, height=256, windows=1.0).is_neutral
    assert redilate.plan_for(pipe, width=256, height=256, windows=1.0).windows is None


def test_only_a_side_longer_than_in_training_is_cut(pipe):
    plan = redilate.plan_for(pipe, width=512, height=256, windows=1.0)
    levels = windowable(pipe.unet)
    for name, (height, width) in plan.window_sizes(0.0).items():
        assert (height, width) == (32 >> levels[name][1],) * 2


@pytest.mark.parametrize("size", [(512, 256), (328, 264), (264, 440)])
def test_pictures_come_out_whole_at_sizes_that_no_whole_number_of_windows_fits(pipe, size):
    seen = {}
    tokens_seen(pipe, seen)
    width, height = size
    with redilate.apply(pipe, windows_alone(pipe, 1.0, *size)) as handle:
        latents = draw(pipe, *size, steps=1)
        sizes = handle.plan.window_sizes(0.0)
    assert latents.shape == (1, 4, height // 8, width // 8) and torch.isfinite(latents).all()
    levels = windowable(pipe.unet)
    for name, calls in seen.items():
        level = levels[name][1]
        whole = -(-(height // 8) // 2**level) * -(-(width // 8) // 2**level)
        for batch, tokens in calls:
            if name in sizes:
                assert batch > 2 and tokens <= sizes[name][0] * sizes[name][1] < whole
            else:
                assert (batch, tokens) == (2, whole)


@torch.no_grad()
def test_a_call_of_the_network_is_what_each_window_gives_alone_shifted_by_the_noise_level(pipe):
    plan = windows_alone(pipe, 1.0)
    name, (attention, level) = next(iter(windowable(pipe.unet).items()))
    before, after = [], []
    hooks = [
        attention.register_forward_pre_hook(lambda _, args: before.append(args[0])),
        attention.register_forward_hook(lambda _, __, output: after.append(output)),
    ]
    with redilate.apply(pipe, plan):
        draw(pipe, steps=3)
    for hook in hooks:
        hook.remove()
    size = (HEIGHT // 8 >> level, WIDTH // 8 >> level)
    for timestep, tokens, found in zip(pipe.scheduler.timesteps, before, after, strict=True):
        layout = lay_out(size, plan.window_sizes(0.0)[name], shift_at(float(timestep) / 1000))
        alone = torch.cat([attention(one[None]) for one in into_windows(tokens, layout)])
        assert torch.allclose(found, from_windows(alone, layout), atol=1e-5)


def test_a_window_of_the_whole_map_and_one_of_no_noise_level_are_the_bit_exact_identity(pipe):
    plain = draw(pipe)
    large = dict.fromkeys(windowable(pipe.unet), (HEIGHT // 8, WIDTH // 8))
    with redilate.apply(pipe, Plan.model_validate({"windows": {"size": large, "below": 1.0}})):
        assert torch.equal(draw(pipe), plain)
    with redilate.apply(pipe, windows_alone(pipe, 0.0)) as handle:
        assert handle.plan.is_neutral and torch.equal(draw(pipe), plain)


def test_they_are_in_force_below_their_noise_level_only(pipe):
    seen = {}
    tokens_seen(pipe, seen)
    with redilate.apply(pipe, windows_alone(pipe, 0.5)) as handle:
        draw(pipe, steps=6)
        sizes = handle.plan.windows.size
    below = [float(timestep) / 1000 < 0.5 for timestep in pipe.scheduler.timesteps]
    assert 0 < sum(below) < 6
    assert sizes.keys() <= seen.keys()
    for name in sizes:
        assert [batch > 2 for batch, _ in seen[name]] == below


def test_removing_leaves_no_trace_also_after_an_exception(pipe):
    plain, before = draw(pipe), traces(pipe)
    with redilate.apply(pipe, windows_alone(pipe, 1.0)):
        changed = draw(pipe)
        assert any(isinstance(module, WindowedAttention) for module in pipe.unet.modules())
    assert not torch.equal(changed, plain)
    assert traces(pipe) == before and torch.equal(draw(pipe), plain)

    def fail(*_):
        raise RuntimeError("out of memory")

    with redilate.apply(pipe, windows_alone(pipe, 1.0)):
        hook = pipe.unet.mid_block.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            draw(pipe)
        hook.remove()
        assert torch.equal(draw(pipe), changed)
    assert traces(pipe) == before and torch.equal(draw(pipe), plain)


def test_they_go_with_re_dilation_and_nd_cfg(pipe):
    dilated = redilate.plan_for(pipe, width=WIDTH, height=HEIGHT)
    both = redilate.plan_for(pipe, width=WIDTH, height=HEIGHT, windows=0.5)
    assert both.model_copy(update={"windows": None}) == dilated
    damped = redilate.NoiseDamping(dilation={}, until=0.3)
    with redilate.apply(pipe, both.model_copy(update={"noise_damping": damped, "until": 0.3})):
        assert torch.isfinite(draw(pipe, steps=3)).all()


def test_a_lora_on_the_projections_is_seen_through_windows_too(pipe):
    from peft import LoraConfig

    torch.manual_seed(1)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    adapted = draw(pipe)
    with redilate.apply(pipe, windows_alone(pipe, 1.0)):
        first = draw(pipe)
        pipe.unet.disable_adapters()
        assert not torch.equal(draw(pipe), first)
        pipe.unet.enable_adapters()
        assert torch.equal(draw(pipe), first)
    assert not torch.equal(first, adapted) and torch.equal(draw(pipe), adapted)


@pytest.mark.parametrize("make", [xl_control, xl_image_prompt, xl_perturbed_attention])
def test_controlnets_image_prompts_and_perturbed_attention_go_on_beside_them(make):
    sample = make()
    plain, seen = sample.draw(), {}
    tokens_seen(sample.pipe, seen)
    with redilate.apply(sample.pipe, windows_alone(sample.pipe, 1.0, width=384, height=256)):
        changed = sample.draw()
    assert torch.isfinite(changed).all() and not torch.equal(changed, plain)
    levels = windowable(sample.pipe.unet)
    for name, calls in seen.items():
        level = levels[name][1]  # half of 32 × 48 latents
        assert {tokens for _, tokens in calls} == {(32 >> level) * (24 >> level)}
    assert torch.equal(sample.draw(), plain)


def test_names_that_a_network_does_not_have_are_refused_before_anything_is_touched(pipe):
    before = traces(pipe)
    cross = next(iter(windowable(pipe.unet))).replace("attn1", "attn2")
    for name in ("blocks.7.attn1", cross):
        with pytest.raises(RedilateError, match=r"names 1 self-attentions.*attn1'$"):
            redilate.apply(pipe, Plan.model_validate({"windows": {"size": {name: (8, 8)}}}))
    assert traces(pipe) == before


def test_windows_at_what_is_no_noise_level_are_refused(pipe):
    with pytest.raises(RedilateError, match="windows is 3; it is a noise level"):
        redilate.plan_for(pipe, width=512, height=512, windows=3)
