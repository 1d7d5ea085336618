"""Sequential guidance: asked for, chosen where nothing else fits, and refused where it cannot be."""

import re
from functools import partial

import pytest

import redilate
from redilate import RedilateError
from redilate.pipelines import memory
from redilate.pipelines.memory import memory_for
from redilate.pipelines.sparing import choose_sequential, sparing
from tests.models import tiny_sdxl


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def as_trained(width, height):
    return None


def test_guidance_goes_one_sample_at_a_time_where_the_device_holds_it_only_so(on_a_device):
    pipe, hold = on_a_device
    needed = memory_for(pipe, 1024, 1024)
    ask = partial(choose_sequential, pipe, 1024, 1024, plan_at=as_trained)
    hold(needed.activations())
    assert ask(guided=True) is False and ask(guided=True, asked=True) is True
    hold(needed.activations() - 1)
    assert ask(guided=True) is True and ask(guided=False) is False
    hold(needed.activations(sequential=True))
    assert ask(guided=True) is True
    hold(needed.activations(sequential=True) - 1)
    with pytest.raises(RedilateError, match="with sequential guidance, and meta has"):
        ask(guided=True)


@pytest.mark.parametrize("why", ["pag", "compiled"])
def test_a_network_that_needs_its_batch_whole_is_refused_with_what_the_batch_needs(on_a_device, why):
    pipe, hold = on_a_device
    if why == "pag":
        pipe.pag_applied_layers = ["mid"]
    else:
        pipe.unet.compile(backend="eager")
    needed = memory_for(pipe, 1024, 1024)
    hold(needed.activations() - 1)
    with pytest.raises(RedilateError, match=re.escape(memory.gigabytes(needed.unet))) as refusal:
        choose_sequential(pipe, 1024, 1024, plan_at=as_trained, guided=True)
    assert "sequential" not in str(refusal.value)


def test_sequential_guidance_is_refused_where_the_network_needs_its_batch_whole(pipe):
    pipe.unet.compile(backend="eager")
    with pytest.raises(RedilateError, match="compiled in place"), sparing(pipe, 256, 256, sequential=True):
        pass
    pipe.unet._compiled_call_impl = None


def test_generate_takes_sequential_guidance(pipe):
    whole = redilate.generate(pipe, "apple", width=384, height=256, steps=1)
    ours = redilate.generate(pipe, "apple", width=384, height=256, steps=1, sequential=True)
    difference = [
        abs(a - b) for a, b in zip(whole.images[0].tobytes(), ours.images[0].tobytes(), strict=True)
    ]
    assert max(difference) <= 1 and not pipe.unet._forward_hooks
