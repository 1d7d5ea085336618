"""One answer for all stages of a picture: whether guidance goes one sample at a time, and what is refused."""

import pytest

import redilate
from redilate import Relay
from redilate.generation.fitting import fit
from redilate.generation.modes import find_runner
from redilate.generation.stages import Stage
from redilate.pipelines import memory
from redilate.pipelines.memory import TooLarge, memory_for
from tests.models import tiny_sdxl

SIZE = (400, 400)


@pytest.fixture(scope="module")
def pipe():
    return tiny_sdxl()


@pytest.fixture
def hold(monkeypatch):
    """Give the device so many free bytes; the decode, of which a tiny pipeline's takes more, is left out."""
    monkeypatch.setattr(memory, "decode_bytes", lambda *_: None)
    monkeypatch.setattr(memory, "strips_bytes", lambda *_: None)
    return lambda free: monkeypatch.setattr(memory, "device_bytes", lambda _device: (free, 2 * free))


def relay_to(pipe, size, **stage):
    return find_runner(pipe, "relay", size, steps=25, guidance=5.0, relay=Relay(stages=(Stage(**stage),)))


def test_a_large_stage_that_needs_it_decides_for_the_first_one_too(pipe, hold):
    runner = relay_to(pipe, SIZE, guidance=None)
    needed = memory_for(pipe, *SIZE)
    hold(needed.unet)
    assert fit(pipe, runner.start, runner, guidance=5.0) is runner.sequential is False
    hold(needed.unet - 1)
    assert fit(pipe, runner.start, runner, guidance=5.0) is runner.sequential is True


def test_the_first_stage_decides_where_the_large_ones_are_not_guided(pipe, hold):
    runner = relay_to(pipe, (288, 288))  # one sample of 288 × 288 takes less than two of 256 × 256
    native = memory_for(pipe, 256, 256)
    assert memory_for(pipe, 288, 288).unet_sequential < native.unet
    hold(native.unet - 1)
    assert fit(pipe, runner.start, runner, guidance=5.0) is runner.sequential is True
    runner.sequential = False
    assert fit(pipe, runner.start, runner, guidance=1.0) is runner.sequential is False


def test_the_refusal_names_the_size_that_was_asked_for(pipe, hold):
    runner = relay_to(pipe, (1024, 1024), guidance=None)
    assert len(runner.legs) == 2
    hold(memory_for(pipe, 256, 256).unet)
    with pytest.raises(TooLarge, match=r"^1024x1024 needs"):
        fit(pipe, runner.start, runner, guidance=5.0)


def test_a_stage_that_starts_where_its_plan_is_in_force_needs_what_that_needs(pipe, hold):
    plan = redilate.plan_for(pipe, width=400, height=400)
    late, early = (relay_to(pipe, SIZE, noise=noise) for noise in (0.1, 0.6))
    assert late.legs[0].start.level < plan.until < early.legs[0].start.level
    needed = memory_for(pipe, *SIZE, plan=plan).unet_sequential
    hold(needed)
    assert fit(pipe, early.start, early, guidance=1.0) is False
    hold(needed - 1)
    assert fit(pipe, late.start, late, guidance=1.0) is False
    with pytest.raises(TooLarge):
        fit(pipe, early.start, early, guidance=1.0)


def test_sequential_guidance_that_was_asked_for_stays(pipe):
    assert fit(pipe, (256, 256), guidance=5.0, sequential=True) is True
