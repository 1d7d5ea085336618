"""Where image to image starts: against what diffusers' own pipelines then do."""

from itertools import pairwise

import diffusers
import pytest
import torch

from redilate.errors import RedilateError
from redilate.pipelines.apply import noise_level_of
from redilate.pipelines.schedulers import find_start, leg_scheduler
from redilate.pipelines.support import image_to_image
from tests.models import tiny_sdxl

SCHEDULERS = [
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "PNDMScheduler",
    "LCMScheduler",
    "DDPMScheduler",
]


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def timesteps_of_a_call(pipe, start, size=8):
    """The timesteps at which the U-Net is really evaluated, and the latents that it is given first."""
    seen = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: seen.append(float(args[1])))
    try:
        pipe(
            "apple",
            image=torch.zeros(1, 4, size, size),
            **start.arguments,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        )
    finally:
        hook.remove()
    return tuple(seen)


def test_a_scheduler_that_takes_no_number_of_steps_is_refused(pipe):
    class Stubborn(diffusers.DDIMScheduler):
        def set_timesteps(self, *_args, **_kwargs):
            raise ValueError("never")

    with pytest.raises(RedilateError, match="Stubborn cannot start on the way for 1 steps"):
        find_start(Stubborn.from_config(pipe.scheduler.config), 1, 0.5, noise_level_of(pipe))


@pytest.mark.parametrize(
    ("name", "steps", "level"),
    [
        (name, *asked)
        for name in SCHEDULERS
        for asked in ((1, 0.5), (4, 0.6))
        if (name, asked[0]) != ("PNDMScheduler", 1)
    ],
)
def test_the_pipeline_denoises_at_just_the_timesteps_foretold(pipe, name, steps, level):
    other = image_to_image(pipe)
    other.scheduler = leg_scheduler(getattr(diffusers, name).from_config(other.scheduler.config))
    other.set_progress_bar_config(disable=True)
    start = find_start(other.scheduler, steps, level, noise_level_of(other))
    assert timesteps_of_a_call(other, start) == pytest.approx(start.timesteps)
    if name not in ("HeunDiscreteScheduler", "PNDMScheduler"):  # these evaluate more than once a step
        assert len(start.timesteps) == steps
    # As near as whole numbers of steps allow: steps / N for some N.
    assert abs(start.level - level) < 0.5 * level / steps + 0.02


@pytest.mark.parametrize("karras", [False, True])
def test_the_level_holds_for_other_spacings_of_the_noise(pipe, karras):
    other = image_to_image(pipe)
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        other.scheduler.config, use_karras_sigmas=karras
    )
    other.scheduler = scheduler
    assert find_start(scheduler, 8, 0.5, noise_level_of(other)).level == pytest.approx(0.5, abs=0.04)


def test_with_zero_terminal_signal_something_of_the_picture_is_left():
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    start = find_start(scheduler, 3, 0.998, lambda timestep: float(timestep) / 1000)
    assert start.timesteps[0] < 999 and scheduler.alphas_cumprod[int(start.timesteps[0])] > 0


def test_the_scheduler_that_is_asked_is_left_as_it_was():
    scheduler = diffusers.EulerDiscreteScheduler()
    scheduler.set_timesteps(7)
    find_start(scheduler, 2, 0.5, lambda timestep: float(timestep) / 1000)
    assert scheduler.num_inference_steps == 7 and scheduler.begin_index is None


def test_a_scheduler_that_cannot_take_so_many_steps_is_refused():
    with pytest.raises(RedilateError, match="LCMScheduler cannot start"):
        find_start(diffusers.LCMScheduler(), 50, 0.5, lambda timestep: float(timestep) / 1000)


@pytest.mark.parametrize(("steps", "level"), [(11, 0.45), (6, 0.3), (7, 0.61), (15, 0.6)])
def test_ddims_steps_go_down_to_just_the_next_timestep(pipe, steps, level):
    """Its `step` goes down by T // steps, whatever lies between its timesteps."""
    scheduler = leg_scheduler(diffusers.DDIMScheduler.from_config(pipe.scheduler.config))
    assert type(scheduler).__name__ == "DDIMScheduler" and isinstance(scheduler, diffusers.DDIMScheduler)
    found = find_start(scheduler, steps, level, lambda timestep: float(timestep) / 1000)
    apart = 1000 // found.arguments["num_inference_steps"]
    assert [before - after for before, after in pairwise(found.timesteps)] == [apart] * (steps - 1)
    assert found.timesteps[-1] - apart == -1 and found.level == pytest.approx(level, abs=0.02)
