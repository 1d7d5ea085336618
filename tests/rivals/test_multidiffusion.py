"""MultiDiffusion against a loop over windows."""

import pytest
import torch

from redilate import RedilateError
from redilate.rivals.multidiffusion import multidiffusion, starts
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import conditions, noise, predict


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 18), (5, 13)])
def test_the_prediction_is_the_mean_of_the_windows_at_each_pixel(make, height, width):
    pipe = make()
    with multidiffusion(pipe, stride=0.5, native_size=64):
        ours = predict(pipe, height, width, batch=2)
    sample, given = noise(2, height, width), conditions(pipe, 2)
    tall, wide = min(8, height), min(8, width)
    total, count = torch.zeros(2, 4, height, width), torch.zeros(height, width)
    for top in sorted({*range(0, height - tall, 4), height - tall}):
        for left in sorted({*range(0, width - wide, 4), width - wide}):
            window = sample[:, :, top : top + tall, left : left + wide]
            total[:, :, top : top + tall, left : left + wide] += pipe.unet(window, 901, **given).sample
            count[top : top + tall, left : left + wide] += 1
    torch.testing.assert_close(ours, total / count)


def test_the_mean_before_a_step_is_the_papers_mean_behind_it():
    scheduler = tiny_sd15().scheduler
    scheduler.set_timesteps(10)
    latents, first, second = noise(1, 8, 8), noise(1, 8, 8, seed=5), noise(1, 8, 8, seed=6)
    before = scheduler.step((first + second) / 2, 901, latents).prev_sample
    behind = sum(scheduler.step(each, 901, latents).prev_sample for each in (first, second)) / 2
    torch.testing.assert_close(before, behind)


def test_windows_cover_an_axis_to_its_end():
    assert starts(64, 32, 4) == list(range(0, 33, 4))  # the paper's stride: nine a side, 81 in all
    assert starts(20, 8, 8) == [0, 8, 12]
    assert starts(8, 8, 2) == [0] == starts(5, 8, 2)


def test_a_stride_that_leaves_gaps_is_refused():
    with pytest.raises(RedilateError, match=r"in \(0, 1\]"), multidiffusion(tiny_sdxl(), stride=1.5):
        pass
