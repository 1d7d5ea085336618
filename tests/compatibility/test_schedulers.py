"""All schedulers that diffusers marks compatible with the pipelines, and the EDM ones beside them."""

import diffusers
import pytest
import torch
from diffusers.schedulers import KarrasDiffusionSchedulers

import redilate
from tests.compatibility.reference import Recorder, damped_plan
from tests.compatibility.samples import HEIGHT, WIDTH
from tests.models import tiny_sd15, tiny_sdxl

STEPS = 3
# Beside those that are marked: SDXL's EDM-style models, and the few-step ones, bring theirs.
BESIDE = [
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "SASolverScheduler",
]
NAMES = sorted({kind.name for kind in KarrasDiffusionSchedulers} | set(BESIDE))
# Their Brownian-motion noise needs a package of its own.
NEEDS = {"DPMSolverSDEScheduler": "torchsde"}


CASES = [
    pytest.param(name, marks=pytest.mark.compatibility("schedulers", f"`{name}`", "SDXL"), id=name)
    for name in NAMES
]


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, steps=STEPS):
    return pipe(
        "a red apple",
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=steps,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images


def test_every_scheduler_that_a_pipeline_names_is_among_these():
    for make in (tiny_sd15, tiny_sdxl):
        assert {kind.__name__ for kind in make().scheduler.compatibles} <= set(NAMES)


@pytest.mark.parametrize("name", CASES)
def test_a_scheduler_is_left_to_do_its_own(pipe, name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    before = pipe.scheduler
    kind = getattr(diffusers, name)
    edm = name.startswith("EDM")
    pipe.scheduler = kind() if edm else kind.from_config(before.config)
    try:
        levels = []
        plan = damped_plan(pipe.unet, until=0.5)
        with redilate.apply(pipe, plan) as handle:
            patch = handle._patches[0]
            inner = patch._context.noise_level
            watched = Recorder(pipe.unet)
            hook = pipe.unet.register_forward_pre_hook(
                lambda _, args, kwargs: levels.append(
                    inner(args[1] if len(args) > 1 else kwargs["timestep"])
                ),
                with_kwargs=True,
            )
            ours = draw(
                pipe, STEPS + 1 if name == "PNDMScheduler" else STEPS
            )  # its Runge-Kutta start needs 4
            hook.remove()
            watched.stop()
    finally:
        pipe.scheduler = before
    assert ours.shape[-2:] == (HEIGHT // 8, WIDTH // 8) and ours.isfinite().all()
    # A call above τ is followed by a mild one at the same level; the levels fall from near 1 to near 0.
    damped = len(watched.extra)
    assert 1 <= damped < len(watched.main) and len(levels) == damped + len(watched.main)
    assert levels[0] >= 0.6 and levels[-1] < 0.5
    assert damped == sum(level >= 0.5 for level in levels) / 2
