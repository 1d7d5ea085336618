"""What holds a stage to the one before: low frequencies tied, and what is below the noise floor given back."""

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler
from PIL import Image

from redilate import Relay, Stage
from redilate.core.frequency import low_pass
from redilate.core.shrinkage import shrink_noise
from redilate.generation.relay import Runner
from redilate.pipelines.image_to_image import encode
from tests.models import tiny_sdxl


def test_a_tie_holds_the_low_frequencies_to_the_enlarged_picture():
    sdxl = tiny_sdxl()
    sdxl.set_progress_bar_config(disable=True)
    image = Image.radial_gradient("L").convert("RGB")
    wanted = encode(sdxl, image.resize((384, 384), Image.Resampling.LANCZOS))

    def off(tie):
        """How far the stage's last latents are from the enlarged picture's, in low and in high frequencies."""
        stage = Stage(noise=0.6, share=1.0, tie=tie, tie_period=4.0)
        runner = Runner(sdxl, Relay(stages=(stage,)), (256, 256), (384, 384), steps=3, guidance=5.0)
        leg = runner.legs[0]
        last = runner._step(wanted, leg, "apple", None, 0, True, None)
        low = low_pass(last - wanted, 4)
        return float(low.std()), float((last - wanted - low).std())

    (free_low, free_high), (tied_low, tied_high) = off(0.0), off(1.0)
    assert tied_low < 0.4 * free_low, "by cells, so not quite to 0"
    assert tied_high > 0.5 * free_high, "detail stays free"


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler])
@pytest.mark.parametrize("tie", [0.0, 1.0])
def test_what_is_below_the_noise_floor_is_given_back_after_the_last_step(tie, scheduler):
    pipe = tiny_sdxl()
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    before = 0.5 * torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))

    def drawn(floor):
        stage = Stage(noise=0.3, share=1.0, tie=tie, noise_floor=floor)
        runner = Runner(
            pipe, Relay(stages=(stage,)), (64, 64), (128, 128), steps=3, guidance=1.0, native_size=64
        )
        return runner._step(before, runner.legs[0], "apple", None, 0, True, None)

    free = drawn(0.0)
    changed = (free - before).square().mean().sqrt().item()
    assert changed > 0
    for floor in (0.5 * changed, changed):
        torch.testing.assert_close(drawn(floor), before + shrink_noise(free - before, floor))
    torch.testing.assert_close(drawn(100 * changed), before)
