"""The relay: what its stages are, that they are diffusers' own calls, and a pipeline left as it was."""

import diffusers
import pytest
import torch
from PIL import Image

import redilate
from redilate import Plan, RedilateError, Relay, Stage
from redilate.core.patch import find_patch
from redilate.decoding.decode import moments
from redilate.generation.pixels import to_tensor
from redilate.generation.relay import Runner
from redilate.pipelines import decoder, memory
from tests.marks import needs_real_esrgan
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def sdxl():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, width=384, height=384, steps=4, **changes):
    return redilate.generate(pipe, "apple", width=width, height=height, steps=steps, mode="relay", **changes)


class Evaluations:
    """Every evaluation of a U-Net while it is open: latent (height, width), timestep, dilated or not."""

    def __init__(self, unet):
        self._unet, self.seen = unet, []

    def __enter__(self):
        # A convolution's own hook: it runs after the patch has set the dilations.
        conv = self._unet.mid_block.resnets[0].conv1
        self._hooks = [
            self._unet.register_forward_pre_hook(
                lambda _, args: self.seen.append((tuple(args[0].shape[-2:]), float(args[1])))
            ),
            conv.register_forward_pre_hook(lambda module, _: self.dilated.append(type(module).__name__)),
        ]
        self.dilated = []
        return self

    def __exit__(self, *_):
        for hook in self._hooks:
            hook.remove()


def test_any_size_and_ratio_comes_out_as_asked_and_nothing_stays_patched(pipe):
    for width, height in ((392, 264), (104, 648)):
        made = draw(pipe, width, height, steps=1)
        assert made.images[0].size == (width, height)
        assert find_patch(pipe.unet) is None
        assert not any("Redilated" in type(module).__name__ for module in pipe.unet.modules())


def test_evaluations_are_as_planned_and_only_the_large_ones_are_dilated(sdxl):
    relay = Relay(
        stages=(Stage(noise=0.3, share=0.5, guidance=None), Stage(noise=0.2, share=0.25)), largest_scale=1.4
    )
    with Evaluations(sdxl.unet) as network:
        made = draw(sdxl, 448, 448, relay=relay)
    sizes = [size for size, _ in network.seen]
    assert sizes == [(32, 32)] * 4 + [(44, 44)] * 2 + [(56, 56)] * 2
    told = made.settings["relay"]["sizes"]
    assert [(leg["width"], leg["height"], leg["steps"]) for leg in told] == [(352, 352, 2), (448, 448, 2)]
    large = [timestep for size, timestep in network.seen if size == (56, 56)]
    assert large[0] / 1000 == pytest.approx(told[1]["noise"], abs=1e-4)
    assert set(network.dilated[4:]) == {"RedilatedConv2d"} and made.plan is not None


def test_a_square_native_picture_is_bit_for_bit_the_pipelines_own(pipe):
    previews = []
    draw(pipe, steps=2, seed=5, on_preview=previews.append)
    stock = pipe(
        "apple", num_inference_steps=2, guidance_scale=5.0, generator=torch.Generator().manual_seed(5)
    )
    assert previews[0].tobytes() == stock.images[0].tobytes()


def test_at_the_native_area_and_below_it_is_one_stage(pipe):
    previews = []
    relay = draw(pipe, 256, 256, steps=2, on_preview=previews.append)
    single = redilate.generate(pipe, "apple", width=256, height=256, steps=2)
    assert relay.images[0].tobytes() == single.images[0].tobytes() == previews[0].tobytes()


def test_an_undilated_stage_is_diffusers_own_image_to_image(sdxl):
    """Against a call of the stock pipeline with the enlarged picture itself: only the encoder's sampling is left."""
    stage = Stage(plan="none", noise=0.5, share=1.0, tie=0.0, noise_floor=0.0, guidance=None)
    native = sdxl("apple", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    runner = Runner(sdxl, Relay(stages=(stage,)), (256, 256), (384, 384), steps=2, guidance=5.0)
    ours = runner.run(native, prompt="apple", negative="pear", seed=0)
    stock = diffusers.StableDiffusionXLImg2ImgPipeline.from_pipe(sdxl)
    stock.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        sdxl.scheduler.config, timestep_spacing="trailing"
    )
    stock.set_progress_bar_config(disable=True)
    start = runner.legs[0].start
    enlarged = sdxl.image_processor.preprocess(native.resize((384, 384), Image.Resampling.LANCZOS))
    with torch.no_grad():
        latents = sdxl.vae.encode(enlarged).latent_dist.mode() * sdxl.vae.config.scaling_factor
    theirs = stock(
        "apple",
        image=latents,
        negative_prompt="pear",
        strength=start.strength,
        num_inference_steps=start.scheduled,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed((0x9E3779B97F4A7C15) % 2**63),
    ).images[0]
    assert ours.tobytes() == theirs.tobytes()


def test_each_picture_of_several_can_be_made_again_alone(pipe):
    two = draw(pipe, steps=2, seed=7, count=2)
    alone = draw(pipe, steps=2, seed=8)
    assert two.seeds == [7, 8]
    assert alone.images[0].tobytes() == two.images[1].tobytes() != two.images[0].tobytes()


def test_progress_counts_every_stage_and_the_preview_comes_before_the_first_large_step(sdxl):
    events = []
    draw(
        sdxl,
        steps=4,
        count=2,
        relay=Relay(stages=(Stage(share=0.5),)),
        on_step=lambda done, total: events.append((done, total)),
        on_preview=lambda image: events.append(image.size),
    )
    one = [(1, 12), (2, 12), (3, 12), (4, 12), (256, 256), (5, 12), (6, 12)]
    assert events == one + [(done + 6, 12) if total == 12 else (256, 256) for done, total in one]


@pytest.mark.parametrize("large_step", [1, 5])
def test_an_interrupted_relay_leaves_the_pipeline_unpatched(pipe, large_step):
    def stop(done, total):
        if done == large_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(pipe, on_step=stop, relay=Relay(stages=(Stage(share=0.5),)))
    assert find_patch(pipe.unet) is None
    assert not any("Redilated" in type(module).__name__ for module in pipe.unet.modules())


@pytest.mark.parametrize(
    "change",
    [
        {"noise": 0.6},
        {"share": 0.5},
        {"guidance": 1.0},
        {"plan": "none"},
        {"until": 0.0},
        {"enlarge": "bicubic"},
        {"enlarge": "latent-bicubic"},
        {"enlarge": "latent-bilinear"},
        pytest.param({"enlarge": "realesrgan-x4plus-anime"}, marks=needs_real_esrgan),
        {"tie": 1.0},
        {"noise_floor": 0.5},
        {"colour": "moments"},
        {"colour": "low"},
    ],
    ids=str,
)
def test_every_setting_makes_a_difference_and_is_written_down(sdxl, change):
    base = {
        "noise": 0.5,
        "share": 1.0,
        "tie": 0.0,
        "tie_period": 4.0,
        "noise_floor": 0.0,
        "colour": "as-drawn",
        "enlarge": "lanczos",
        "plan": "default",
        "guidance": None,
        "until": 0.3,
    }
    plain, changed = (
        draw(sdxl, 336, 336, steps=3, relay=Relay(stages=(Stage.model_validate(base | one),)))
        for one in ({}, change)
    )
    assert plain.images[0].tobytes() != changed.images[0].tobytes()
    name, value = next(iter(change.items()))
    assert changed.settings["relay"]["stages"][0][name] == value


def test_stages_that_meet_in_latents_decode_nothing_between_them(sdxl):
    decoded = []
    decode = sdxl.vae.decode
    sdxl.vae.decode = lambda value, *args, **kwargs: (
        decoded.append(value.shape[-1]) or decode(value, *args, **kwargs)
    )
    try:
        for enlarge in ("lanczos", "latent-bicubic"):
            relay = Relay(stages=(Stage(share=0.5), Stage(share=0.5, enlarge=enlarge)), largest_scale=1.3)
            made = draw(sdxl, steps=2, relay=relay)
            assert made.images[0].size == (384, 384)
    finally:
        del sdxl.vae.decode
    assert decoded == [32, 40, 48, 32, 48]


def test_colours_kept_low_are_those_of_the_native_picture(sdxl):
    previews = []
    stage = Stage(noise=0.7, share=1.0, colour="low")
    made = draw(sdxl, 512, 512, relay=Relay(stages=(stage,)), on_preview=previews.append)
    before = to_tensor(previews[0].resize((512, 512), Image.Resampling.LANCZOS))
    after = to_tensor(made.images[0])
    assert (after - before).mean(dim=(-2, -1)).abs().max() < 0.01


def test_a_plan_of_ones_own_serves_every_large_stage(sdxl):
    names = redilate.plan_for(sdxl, width=512, height=512).dilation
    plan = Plan(dilation=dict.fromkeys(names, (1, 3)), until=0.1)
    made = draw(sdxl, plan=plan)
    assert made.plan == plan and Plan.model_validate(made.settings["plan"]) == plan


def test_windows_are_laid_at_each_large_stage_and_written_down(sdxl):
    relay = Relay(stages=(Stage(noise=0.5, until=0.3),))
    plain = draw(sdxl, 384, 264, relay=relay)
    made = draw(sdxl, 384, 264, relay=relay, windows=0.9)
    assert made.plan == redilate.plan_for(sdxl, width=384, height=264, windows=0.9).model_copy(
        update={"until": 0.3}
    )
    assert made.images[0].tobytes() != plain.images[0].tobytes()
    kept = made.settings["relay"]["stages"]
    assert [stage["windows"] for stage in kept] == [0.9]
    again = draw(sdxl, 384, 264, relay=Relay.model_validate({"stages": kept}))
    assert again.images[0].tobytes() == made.images[0].tobytes()


def test_a_pipeline_that_was_applied_to_is_used_as_it_stands(sdxl):
    plan = redilate.plan_for(sdxl, width=384, height=384)
    with redilate.apply(sdxl, plan):
        draw(sdxl, steps=2)
        assert find_patch(sdxl.unet) is not None
        with pytest.raises(RedilateError, match=r"call redilate\.remove"):
            draw(sdxl, steps=2, relay=Relay(stages=(Stage(plan="none"),)))


def test_the_callers_scheduler_is_left_alone(sdxl):
    before, config = sdxl.scheduler, dict(sdxl.scheduler.config)
    draw(sdxl, steps=2)
    assert sdxl.scheduler is before and dict(before.config) == config


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"mode": "cascade"}, "unknown mode 'cascade'; known: auto, single, relay"),
        ({"mode": "single", "relay": Relay()}, 'mode="relay" uses them'),
        ({"plan": Plan(dilation={"no.such": (2, 2)})}, "no.such"),
        ({"relay": Relay(stages=(Stage(plan=Plan(dilation={"no.such": (2, 2)})),))}, "no.such"),
        ({"extra": {"no_such_argument": 1}}, "no argument 'no_such_argument'"),
        ({"width": 250}, "not a size"),
        ({"windows": 7}, "windows is 7; it is a noise level"),
        ({"windows": 0.5, "method": "direct"}, "direct inference has none"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_before_any_work(sdxl, wrong, says):
    with Evaluations(sdxl.unet) as network, pytest.raises(RedilateError, match=says):
        redilate.generate(
            sdxl, "apple", **({"width": 384, "height": 384, "steps": 1, "mode": "relay"} | wrong)
        )
    assert not network.seen


def test_it_is_a_method_by_name(sdxl):
    from redilate.rivals.registry import find

    made = find("relay")(sdxl, "apple", width=384, height=384, steps=2)
    assert made.settings["mode"] == "relay" and made.images[0].size == (384, 384)


@pytest.mark.parametrize(("side", "pools"), [(384, [1]), (512, [2]), (1024, [2, 2])])
def test_where_the_autoencoder_goes_in_strips_it_encodes_an_enlargement_with_the_keys_it_had(
    sdxl, monkeypatch, side, pools
):
    seen = []
    monkeypatch.setattr(memory, "STRIPS_ABOVE_ON_CPU", 0)
    monkeypatch.setattr(
        decoder,
        "moments",
        lambda *args, pool, **named: seen.append(pool) or moments(*args, pool=pool, **named),
    )
    draw(sdxl, side, side, steps=2)
    assert seen == pools
