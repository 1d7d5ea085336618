"""Several pictures of a prompt in one batch: each is, within rounding, the one that its seed draws alone."""

from __future__ import annotations

from functools import wraps

import diffusers
import pytest
import torch
from PIL import Image

import redilate
from redilate import Hires, NoiseDamping, Plan, RedilateError, Request, SafetyStopped, resolve
from redilate.generation import resolve as resolving
from redilate.pipelines import out_of_memory
from redilate.plans.plan import convolutions
from tests.compatibility.samples import quiet
from tests.models import tiny_sd15, tiny_sdxl

LARGE = {"width": 384, "height": 384, "steps": 4, "guidance": 4}


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    return quiet(request.param())


def difference(first: Image.Image, second: Image.Image) -> int:
    return max(abs(a - b) for a, b in zip(first.tobytes(), second.tobytes(), strict=True))


def batches(pipe, draw):
    """What `draw` returns, and the sizes of the batches that the U-Net was called with, (samples, side)."""
    seen = []
    hook = pipe.unet.conv_in.register_forward_pre_hook(
        lambda _, args: seen.append((args[0].shape[0], args[0].shape[-1]))
    )
    try:
        return draw(), seen
    finally:
        hook.remove()


WAYS = {
    "dilated legs with a tie": {"hires": Hires(tie=0.8, tie_until=2.0)},
    "a faithful leg with a noise floor": {"preset": "faithful"},
    "noise-damped guidance": {"damped": 0.0},
    "noise-damped guidance whose Δ is used again": {"damped": 0.5},
    "legs that meet in latents": {"width": 512, "height": 512, "hires": Hires(enlarge="latent-bicubic")},
    "no guidance": {"guidance": 1},
    "colours kept": {"hires": Hires(colour="moments")},
    "an argument of the pipeline's own": {"extra": {"eta": 0.5}},
}


@pytest.mark.parametrize(
    ("build", "way"), [((tiny_sdxl, tiny_sd15)[index % 2], way) for index, way in enumerate(WAYS)]
)
def test_each_picture_of_a_batch_is_the_one_drawn_alone_with_its_seed(build, way):
    pipe, asked = quiet(build()), LARGE | WAYS[way]
    if "damped" in asked:
        names = convolutions(pipe.unet)
        mild = NoiseDamping(dilation=dict.fromkeys(names, (1, 2)), until=0.1, reuse=asked.pop("damped"))
        asked["plan"] = Plan(dilation=dict.fromkeys(names, (2, 2)), until=0.1, noise_damping=mild)
    made, seen = batches(pipe, lambda: redilate.generate(pipe, "fox", seed=7, count=2, batch=2, **asked))
    samples = 2 if asked["guidance"] == 1 else 4
    assert {one for one, _ in seen} <= {samples, 2} and samples in {one for one, _ in seen}
    alone = [redilate.generate(pipe, "fox", seed=7 + index, **asked).images[0] for index in range(2)]
    assert [difference(*both) <= 2 for both in zip(made.images, alone, strict=True)] == [True] * 2
    assert difference(alone[0], alone[1]) > 20, "seeds make different pictures"


@pytest.mark.parametrize("name", [
    "EulerAncestralDiscreteScheduler", "LCMScheduler", "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
])  # fmt: skip
def test_noise_that_a_scheduler_adds_is_each_picture_s_own(name):
    pipe = quiet(tiny_sdxl())
    kind = getattr(diffusers, name)
    more = {"algorithm_type": "sde-dpmsolver++"} if name.startswith("DPMSolver") else {}
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **more)
    asked = LARGE | {"hires": Hires(tie=0.5)}
    made = redilate.generate(pipe, "fox", seed=7, count=2, batch=2, **asked).images
    for index, image in enumerate(made):
        alone = redilate.generate(pipe, "fox", seed=7 + index, **asked).images[0]
        assert difference(image, alone) <= 2


def test_one_at_a_time_on_a_cpu_and_several_on_a_gpu(pipe, monkeypatch):
    asked = Request(prompt="fox", count=3)
    assert resolve(pipe, asked).batch == 1
    monkeypatch.setattr(resolving, "execution_device", lambda _: torch.device("cuda"))
    assert resolve(pipe, asked).batch >= 3
    for alone in (
        {"batch": 1},
        {"sequential": True},
        {"extra": {"callback_on_step_end": lambda *_: {}}},
        {"extra": {"latents": torch.zeros(1, 4, 32, 32)}},
    ):
        assert resolve(pipe, Request(prompt="fox", count=3, **alone)).batch == 1
    with pytest.raises(RedilateError, match="batch is 0"):
        resolve(pipe, Request(prompt="fox", batch=0))


def test_pictures_of_different_prompts_do_not_share_a_call(pipe):
    draw = lambda: redilate.generate(pipe, ["fox", "snail"], count=2, batch=4, steps=1)  # noqa: E731
    made, seen = batches(pipe, draw)
    assert [one for one, _ in seen] == [4, 4] and made.seeds == [0, 1, 2, 3]


def test_each_is_handed_over_with_settings_that_draw_it_alone(pipe):
    kept = []
    made = redilate.generate(
        pipe, ["fox", "snail"], count=2, batch=2, on_picture=lambda *both: kept.append(both), **LARGE
    )
    assert [image for image, _ in kept] == made.images
    assert [(one["prompt"], one["seed"]) for _, one in kept] == [
        ("fox", 0),
        ("fox", 1),
        ("snail", 2),
        ("snail", 3),
    ]
    alone = redilate.generate(pipe, "snail", seed=3, **LARGE).settings
    assert kept[3][1] == alone


def test_steps_and_latents_are_those_of_all_pictures(pipe):
    steps, latents, previews = [], [], []
    made = redilate.generate(
        pipe, "fox", count=3, batch=2, on_step=lambda *both: steps.append(both), on_latents=latents.append,
        on_preview=previews.append, **LARGE,
    )  # fmt: skip
    total = 3 * made.drawing.steps
    assert steps[-1] == (total, total) and [one for one, _ in steps] == sorted({one for one, _ in steps})
    assert len(latents) == total and {one.shape[0] for one in latents} == {1} and len(previews) == 3


def full(pipe, most, side=0):
    """Have the U-Net run out of memory where more than `most` samples of at least `side` latents come in."""

    def enter(_, args):
        if args[0].shape[0] > most and args[0].shape[-1] >= side:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return pipe.unet.conv_in.register_forward_pre_hook(enter)


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (4, ["with 5 pictures at a time: once more with 2"]),
        (2, ["with 5 pictures at a time: once more with 2", "with 2 pictures at a time: once more with 1"]),
        (
            1,
            [
                "with 5 pictures at a time: once more with 2",
                "with 2 pictures at a time: once more with 1",
                ": once more with guidance one sample at a time",
            ],
        ),
    ],
)
def test_where_memory_runs_out_it_is_half_as_many_then_one_and_the_legs_before_are_kept(most, said):
    pipe, notes = quiet(tiny_sdxl()), []
    whole = redilate.generate(pipe, "fox", count=5, batch=5, **LARGE)
    hook = full(pipe, most, side=48)

    def draw():
        return redilate.generate(pipe, "fox", count=5, batch=5, on_note=notes.append, **LARGE)

    made, seen = batches(pipe, draw)
    assert [note.removeprefix("cpu ran out of memory at 384x384").strip() for note in notes] == said
    assert [one for one, side in seen if side == 32] == [10] * 4, "the leg before was drawn once, together"
    assert all(difference(*both) <= 2 for both in zip(made.images, whole.images, strict=True))
    assert ("sequential" in made.settings) is (most == 1)
    notes.clear()
    _, seen = batches(pipe, draw)
    assert not notes and max(one for one, side in seen if side == 48) <= most, "known by now"
    hook.remove()


def test_on_the_way_down_offload_comes_last(monkeypatch):
    pipe, notes = quiet(tiny_sdxl()), []
    hook = full(pipe, 0)
    monkeypatch.setattr(out_of_memory, "offload", lambda _: hook.remove() or True)
    redilate.generate(pipe, "fox", count=2, batch=2, steps=1, guidance=4, on_note=notes.append)
    assert [note.split(": ")[1] for note in notes] == [
        "once more with 1",
        "once more with guidance one sample at a time",
        "once more with each network in the host's memory until it is needed",
    ]


def test_a_batch_is_decoded_in_the_memory_of_one(pipe):
    sizes = []
    hook = pipe.vae.decoder.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[0]))
    redilate.generate(pipe, "fox", count=3, batch=3, steps=1)
    hook.remove()
    assert sizes == [1, 1, 1]


def test_edits_and_their_masks(pipe):
    picture = Image.radial_gradient("L").convert("RGB")
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (128, 0, 256, 256))
    for more in ({}, {"mask": mask}):
        draw = lambda: redilate.edit(pipe, "fox", picture, count=2, batch=2, steps=3, guidance=4, **more)  # noqa: B023, E731
        made, seen = batches(pipe, draw)
        assert {one for one, _ in seen} == ({2} if more else {4})
        for index, image in enumerate(made.images):
            alone = redilate.edit(pipe, "fox", picture, seed=index, steps=3, guidance=4, **more).images[0]
            assert difference(image, alone) <= 2


def test_pictures_before_one_that_the_safety_checker_took_back_are_finished(pipe, monkeypatch):
    original, kept, widths = type(pipe).__call__, [], []

    @wraps(original)
    def flagged(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        result["nsfw_content_detected"] = [False, True, False]
        result.nsfw_content_detected = [False, True, False]
        return result

    monkeypatch.setattr(type(pipe), "__call__", flagged)
    hook = pipe.unet.conv_in.register_forward_pre_hook(
        lambda _, args: widths.append((args[0].shape[0], args[0].shape[-1]))
    )
    with pytest.raises(SafetyStopped, match="safety checker"):
        redilate.generate(
            pipe, "fox", count=3, batch=3, on_picture=lambda image, _: kept.append(image), **LARGE
        )
    hook.remove()
    assert set(widths) == {(6, 32), (2, 48)} and len(kept) == 1
