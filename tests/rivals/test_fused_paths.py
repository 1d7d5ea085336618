"""DemoFusion's parts against index loops, and a whole step against the paper's, path by path."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from redilate.rivals.demofusion import (
    blur,
    cosine,
    fused_paths,
    interleaved,
    latents_in_predictions,
    put_together,
    shifted_corners,
)
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import conditions, noise


def test_the_cosine_falls_from_one_at_pure_noise_to_zero():
    assert [cosine(level, 1) for level in (1.0, 0.5, 0.0)] == pytest.approx([1, 0.5, 0])
    assert cosine(0.25, 3) == pytest.approx(((1 + math.cos(math.pi * 0.75)) / 2) ** 3)


def test_crops_cover_everything_and_are_all_shifted():
    tops = [set(), set(), set()]
    for seed in range(40):
        dice, cover = torch.Generator().manual_seed(seed), torch.zeros(32, 16)
        corners = shifted_corners((32, 16), (16, 16), dice)
        assert [left for _, left in corners] == [0, 0, 0]  # one crop is as wide as the picture
        for number, (top, _) in enumerate(corners):
            cover[max(top, 0) : top + 16] += 1
            tops[number].add(top)
        assert (cover > 0).all()
    assert tops == [{-2, -1, 0}, {6, 7, 8, 9, 10}, {16, 17, 18}]


def test_a_prediction_that_is_added_to_moves_a_ddim_step_as_the_latents_would():
    scheduler = DDIMScheduler(beta_schedule="scaled_linear")
    scheduler.set_timesteps(10)
    kept, later = scheduler.alphas_cumprod[900], scheduler.alphas_cumprod[800]
    latents = (later / kept).sqrt()
    prediction = (1 - later).sqrt() - (later * (1 - kept) / kept).sqrt()
    assert latents_in_predictions(scheduler, 900) == pytest.approx(float(latents / prediction), rel=1e-4)


SCHEDULERS = {
    "ddim": lambda: DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
    "ddim-v-zero-snr": lambda: DDIMScheduler(
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    ),
    "euler": lambda: EulerDiscreteScheduler(beta_schedule="scaled_linear"),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_a_step_is_the_papers_mixture_of_local_and_global_steps(make, scheduler):
    pipe, new = make(), SCHEDULERS[scheduler]
    pipe.scheduler = new()
    pipe.scheduler.set_timesteps(10)
    timestep, given = pipe.scheduler.timesteps[0], conditions(pipe)
    latents = noise(1, 16, 12) * pipe.scheduler.init_noise_sigma
    with fused_paths(pipe, 2, seed=3, native_size=64):
        whole = pipe.scheduler.scale_model_input(latents, timestep)
        prediction = pipe.unet(whole, timestep, **given).sample
    ours = pipe.scheduler.step(prediction, timestep, latents).prev_sample

    def denoised(part, corner=None):
        """One path's own step, with a scheduler of its own."""
        mine = new()
        mine.set_timesteps(10)
        told = dict(given)
        if corner is not None and "added_cond_kwargs" in told:
            times = told["added_cond_kwargs"]["time_ids"].clone()
            times[:, 2:4] = torch.tensor(corner)
            told["added_cond_kwargs"] = told["added_cond_kwargs"] | {"time_ids": times}
        seen = pipe.unet(mine.scale_model_input(part, timestep), timestep, **told).sample
        return mine.step(seen, timestep, part).prev_sample

    local, count = torch.zeros_like(latents), torch.zeros(16, 12)
    for top, left in shifted_corners((16, 12), (8, 8), torch.Generator().manual_seed(3)):
        rows, columns = (
            [min(abs(each), 2 * (length - 1) - each) for each in range(start, start + 8)]  # mirrored outside
            for start, length in ((top, 16), (left, 12))
        )
        made = denoised(latents[..., rows, :][..., columns], (max(top, 0) * 8, max(left, 0) * 8))
        for row, y in enumerate(range(top, top + 8)):
            for column, x in enumerate(range(left, left + 8)):
                if 0 <= y < 16 and 0 <= x < 12:
                    local[..., y, x] += made[..., row, column]
                    count[y, x] += 1
    level = float(timestep) / 1000
    soft = blur(latents, 2, 0.8 * (0.99 * cosine(level, 1) + 0.01))
    dilated = put_together([denoised(part) for part in interleaved(soft, 2)], 2, (16, 12))
    share = cosine(level, 1)
    expected = share * dilated + (1 - share) * local / count
    scale = float(expected.abs().max())
    torch.testing.assert_close(ours / scale, expected / scale, atol=2e-4, rtol=0)
