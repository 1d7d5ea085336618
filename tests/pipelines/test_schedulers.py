"""What a scheduler cannot do is said before any work, with what would work; what it can do is let through."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import Any

import diffusers
import pytest
import torch

from redilate import RedilateError
from redilate.pipelines.schedulers import _SHORT, check_scheduler, check_scheduler_name

CONFIG = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
NOT_FOR_U_NETS = [
    "AmusedScheduler", "CogVideoXDPMScheduler", "DDIMInverseScheduler", "DDPMWuerstchenScheduler",
    "DPMSolverMultistepInverseScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler", "KarrasVeScheduler", "RePaintScheduler", "SCMScheduler", "ScoreSdeVeScheduler",
    "UnCLIPScheduler", "VQDiffusionScheduler",
]  # fmt: skip


def made(name: str, **config: Any) -> Any:
    return getattr(diffusers, _SHORT[name]).from_config(CONFIG | config)


@pytest.mark.parametrize("name", _SHORT)
@pytest.mark.parametrize("steps", [4, 25, 50])
def test_usual_numbers_of_steps_are_let_through(name: str, steps: int):
    assert check_scheduler_name(name) == check_scheduler_name(name.upper()) == _SHORT[name]
    check_scheduler(made(name), steps)


@pytest.mark.parametrize(
    ("name", "config", "steps", "works"),
    [
        ("pndm", {}, 3, "4 or more work"),
        ("lcm", {}, 60, "50 is the most"),
        ("tcd", {}, 60, "50 is the most"),
        ("lcm", {"original_inference_steps": 20}, 21, "20 is the most"),
        ("ddim", {"num_train_timesteps": 200}, 300, "199 is the most.*trained with 200"),
        *((name, {"timestep_spacing": "linspace"}, 1001, "is the most") for name in ("euler", "dpm++", "heun", "lms")),
    ],
)  # fmt: skip
def test_what_a_scheduler_cannot_take_is_refused_with_what_it_can(
    name: str, config: dict[str, Any], steps: int, works: str
):
    scheduler = made(name, **config)
    with pytest.raises(
        RedilateError, match=rf"steps: {_SHORT[name]} cannot take {steps}; .*{works}"
    ) as refusal:
        check_scheduler(scheduler, steps)
    own_words = re.sub(r" \(the model was trained with \d+\)$", "", str(refusal.value))
    assert "(" not in own_words, "nothing of torch's or diffusers' own"


@pytest.mark.parametrize("name", _SHORT)
def test_what_is_let_through_can_be_drawn_and_what_would_work_does(name: str):
    """All of its steps, at the border that the refusal names."""
    scheduler = made(name)
    with pytest.raises(RedilateError) as refusal:
        check_scheduler(scheduler, 1001)
    most = int(str(refusal.value).split("; ")[1].split()[0])
    for steps in (4, min(most, 100), most if name in ("ddim", "ddpm", "euler", "lcm", "tcd", "pndm") else 20):
        one = made(name)
        one.set_timesteps(steps)
        latents = torch.zeros(1, 4, 8, 8)
        for timestep in one.timesteps:
            noise = torch.zeros_like(one.scale_model_input(latents, timestep))
            latents = one.step(noise, timestep, latents, return_dict=False)[0]
        assert latents.isfinite().all()


def test_the_scheduler_and_torchs_generator_are_left_as_they_were():
    scheduler = made("euler-a")
    scheduler.set_timesteps(7)
    before, state = dict(vars(scheduler)), torch.random.get_rng_state()
    check_scheduler(scheduler, 25)
    assert len(scheduler.timesteps) == 7 and scheduler.step_index is None
    assert vars(scheduler).keys() == before.keys()
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", NOT_FOR_U_NETS)
def test_classes_that_are_not_for_u_nets_are_refused_by_name(name: str):
    with pytest.raises(RedilateError, match=f"{name} is no scheduler for a U-Net; ddim"):
        check_scheduler_name(name)


def test_every_class_of_diffusers_is_let_through_or_refused_in_words():
    for name in dir(diffusers):
        if name.endswith("Scheduler") and inspect.isclass(getattr(diffusers, name)):
            with suppress(RedilateError):
                assert check_scheduler_name(name) == name


def test_a_flow_matching_scheduler_of_a_pipeline_is_refused():
    with pytest.raises(RedilateError, match="FlowMatchEulerDiscreteScheduler is no scheduler for a U-Net"):
        check_scheduler(diffusers.FlowMatchEulerDiscreteScheduler(), 20)


def test_unknown_names_are_refused_with_the_known():
    for name in ("magic", "DDIMPipeline", "Scheduler", "SchedulerMixin"):
        with pytest.raises(RedilateError, match=r"unknown scheduler|no scheduler for a U-Net"):
            check_scheduler_name(name)
