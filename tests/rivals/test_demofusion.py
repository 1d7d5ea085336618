"""DemoFusion's parts against index loops, and a whole step against the paper's, path by path."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from redilate import RedilateError
from redilate.rivals.demofusion import (
    _Residual,
    cosine,
    draw,
    fused_paths,
    latents_in_predictions,
    phases,
    shifted_corners,
)
from redilate.rivals.dilated_sampling import blur, interleaved, put_together
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import conditions, noise


def test_the_cosine_falls_from_one_at_pure_noise_to_zero():
    assert [cosine(level, 1) for level in (1.0, 0.5, 0.0)] == pytest.approx([1, 0.5, 0])
    assert cosine(0.25, 3) == pytest.approx(((1 + math.cos(math.pi * 0.75)) / 2) ** 3)


def test_phases_grow_by_one_native_side_and_keep_the_shape():
    assert phases((1024, 1024), (256, 256), 8) == [(side, side) for side in (256, 512, 768, 1024)]
    assert phases((256, 768), (256, 256), 8) == [(88, 256), (168, 512), (256, 768)]
    assert phases((640, 640), (256, 256), 8) == [(256, 256), (512, 512), (640, 640)]
    assert phases((256, 128), (256, 256), 8) == [(256, 128)]


@pytest.mark.parametrize(("size", "factor"), [((6, 9), 3), ((5, 7), 2), ((2, 5), 3)])
def test_dilated_sampling_takes_every_sth_pixel_and_puts_it_back(size, factor):
    latents = torch.randn(2, 4, *size)
    parts = interleaved(latents, factor)
    seen, number = torch.zeros(size), 0
    for row in range(factor):
        for column in range(factor):
            places = [
                (y, x)
                for y in range(size[0])
                for x in range(size[1])
                if (y % factor, x % factor) == (row, column)
            ]
            if not places:
                continue
            for (y, x), value in zip(places, parts[number].flatten(2).unbind(2), strict=True):
                assert torch.equal(value, latents[..., y, x])
                seen[y, x] += 1
            number += 1
    assert (seen == 1).all() and number == len(parts)
    assert torch.equal(put_together(parts, factor, size), latents)


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


def test_blurring_is_a_gaussian_mean_that_keeps_mean_and_deviation():
    latents = torch.randn(1, 2, 7, 5)
    soft = torch.zeros_like(latents, dtype=torch.float64)
    for channel in range(2):
        for y in range(7):
            for x in range(5):
                total = weights = 0.0
                for down in (-1, 0, 1):
                    for right in (-1, 0, 1):
                        weight = math.exp(-(down**2 + right**2) / (2 * 0.8**2))
                        near = latents[0, channel, min(max(y + down, 0), 6), min(max(x + right, 0), 4)]
                        total, weights = total + weight * float(near), weights + weight
                soft[0, channel, y, x] = total / weights
    soft = (soft - soft.mean()) / soft.std() * latents.std() + latents.mean()
    torch.testing.assert_close(blur(latents, 2, 0.8), soft.float())


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


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_the_skip_residual_mixes_in_the_enlarged_latents_at_the_next_noise_level(make):
    pipe, clean = make(), noise(1, 4, 4)
    residual = _Residual(pipe, clean, (8, 8), 10, 3.0, torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(clean, size=(8, 8), mode="bicubic")
    grain = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = float(pipe.scheduler.alphas_cumprod[801])
    noisy = math.sqrt(kept) * large + math.sqrt(1 - kept) * grain
    if isinstance(pipe.scheduler, EulerDiscreteScheduler):
        noisy /= math.sqrt(kept)
    share = ((1 + math.cos(math.pi * (1 - 0.801))) / 2) ** 3
    latents = noise(1, 8, 8, seed=9)
    expected = share * noisy + (1 - share) * latents
    torch.testing.assert_close(residual.before(1, latents), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(residual.before(10, latents), latents)


def test_phases_are_calls_of_the_pipeline_from_the_native_size_up():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    sizes, steps = [], []
    hook = pipe.unet.register_forward_pre_hook(
        lambda _, __, given: sizes.append(given["added_cond_kwargs"]["time_ids"][0, :2].tolist()),
        with_kwargs=True,
        prepend=True,
    )
    made = draw(
        pipe,
        "apple",
        width=128,
        height=64,
        steps=2,
        guidance=1.0,
        native_size=64,
        on_step=lambda *at: steps.append(at),
    )
    hook.remove()
    # 2 steps of one 32×64 call, then 2 of three crops and four interleaved views.
    assert sizes == [[32, 64]] * 2 + [[64, 128]] * 2 * (3 + 4)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert made.images[0].size == (128, 64) and made.settings["parameters"]["skip"] == 3.0
    again = draw(pipe, "apple", width=128, height=64, steps=2, guidance=1.0, native_size=64)
    assert again.images[0].tobytes() == made.images[0].tobytes()


def test_what_cannot_be_drawn_is_refused_before_any_work():
    pipe = tiny_sdxl()
    for wrong, says in (
        ({"width": 130}, "not a size"),
        ({"steps": 0}, "at least 1"),
        ({"prompt": ["a"]}, "one text"),
    ):
        asked = {"prompt": "apple", "width": 128, "height": 64, "native_size": 64} | wrong
        with pytest.raises(RedilateError, match=says):
            draw(pipe, asked.pop("prompt"), **asked)
