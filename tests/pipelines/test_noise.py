"""Noise levels, from what each kind of scheduler hands the U-Net."""

import diffusers
import pytest
import torch

from redilate.pipelines import apply
from redilate.pipelines.apply import noise_level_of

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


@pytest.mark.parametrize("sigma_data", [1.0, 0.5])  # Stable Video Diffusion's; Playground v2.5's, the default
def test_edm_timesteps_are_converted_by_their_sigma_in_units_of_the_data(sigma_data):
    plain = diffusers.EulerDiscreteScheduler(**SD)
    sigmas = ((1 - plain.alphas_cumprod) / plain.alphas_cumprod).sqrt()
    pipe = Owner(diffusers.EDMEulerScheduler(sigma_data=sigma_data))
    level = noise_level_of(pipe)
    for timestep in (50, 300, 601, 998):
        passed = 0.25 * (sigma_data * sigmas[timestep]).log()
        assert level(passed) == pytest.approx(timestep / 1000, abs=0.0011)
    assert (
        level(torch.tensor(0.25) * torch.tensor(700.0).log()) == 1
    )  # Stable Video Diffusion starts far above


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_continuous_euler_passes_log_sigma_where_it_predicts_v_and_timesteps_elsewhere(prediction):
    scheduler = diffusers.EulerDiscreteScheduler(**SD, timestep_type="continuous", prediction_type=prediction)
    scheduler.set_timesteps(5)
    pipe = Owner(scheduler)
    level = noise_level_of(pipe)
    plain = diffusers.EulerDiscreteScheduler(**SD)
    plain.set_timesteps(5)
    for passed, timestep in zip(scheduler.timesteps, plain.timesteps, strict=True):
        assert level(passed) == pytest.approx(float(timestep) / 1000, abs=0.0011)


def test_a_timestep_on_a_device_is_read_off_the_schedule_that_is_fetched_once(monkeypatch):
    fetched = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(apply, "_on_host", lambda _: False)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: fetched.append(self.shape) or tolist(self))
    for name in ("DDIM", "EulerDiscrete", "HeunDiscrete"):
        pipe = Owner(getattr(diffusers, name + "Scheduler")(**SD))
        level = noise_level_of(pipe)
        for steps in (10, 7):
            pipe.scheduler.set_timesteps(steps)
            fetched.clear()
            late = pipe.scheduler.timesteps[2:]  # as image to image starts
            found = [(level(timestep), level(timestep.expand(2))) for timestep in late]
            assert fetched == [pipe.scheduler.timesteps.shape]
            wanted = tolist(late / 1000)
            for read in zip(*found, strict=True):
                assert list(read) == pytest.approx(wanted)
        pipe.scheduler.timesteps.sub_(1)
        assert level(late[0]) == pytest.approx(float(late[0]) / 1000)
        assert level(late[0].clone()) == pytest.approx(float(late[0]) / 1000), "of nobody's schedule"
