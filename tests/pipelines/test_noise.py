"""Noise levels, from what each kind of scheduler hands the U-Net."""

import diffusers
import pytest
import torch

from redilate.pipelines.noise import noise_level_of

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Owner:
    """All that is asked of a pipeline here."""

    def __init__(self, scheduler):
        self.scheduler = scheduler


@pytest.mark.parametrize("name", ["DDIM", "EulerDiscrete", "DPMSolverMultistep", "HeunDiscrete", "LCM"])
def test_a_timestep_is_its_share_of_training(name):
    scheduler = getattr(diffusers, name + "Scheduler")(**SD)
    scheduler.set_timesteps(10)
    pipe = Owner(scheduler)
    level = noise_level_of(pipe)
    for timestep in scheduler.timesteps:
        assert level(timestep) == pytest.approx(float(timestep) / 1000)
        assert level(timestep.expand(4)) == level(timestep)


def test_edm_timesteps_are_converted_by_their_sigma():
    plain = diffusers.EulerDiscreteScheduler(**SD)
    sigmas = ((1 - plain.alphas_cumprod) / plain.alphas_cumprod).sqrt()
    pipe = Owner(diffusers.EDMEulerScheduler())
    level = noise_level_of(pipe)
    for timestep in (50, 300, 601, 998):
        assert level(0.25 * sigmas[timestep].log()) == pytest.approx(timestep / 1000, abs=0.0011)
    assert (
        level(torch.tensor(0.25) * torch.tensor(700.0).log()) == 1
    )  # Stable Video Diffusion starts far above
