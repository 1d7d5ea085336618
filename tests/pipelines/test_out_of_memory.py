"""A leg that runs out of memory: what is tried next, what is said and recorded, and that nothing done is lost."""

import pytest
import torch
from PIL import Image

import redilate
from redilate import RedilateError
from redilate.pipelines import out_of_memory
from tests.models import tiny_sdxl

GPU = torch.device("cuda", 1)
LARGE = {"width": 384, "height": 384, "steps": 3}


@pytest.fixture
def pipe():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def batches(pipe):
    """The U-Net's batches and sides, as they came in; `most` and `at` bound what it can hold."""

    class Device:
        seen: list = []  # noqa: RUF012
        most, at = 99, 0

    device = Device()
    device.seen = []

    def enter(_module, args):
        samples, side = args[0].shape[0], args[0].shape[-1]
        device.seen.append((samples, side))
        if samples > device.most and side >= device.at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    pipe.unet.conv_in.register_forward_pre_hook(enter)
    return device


def near(first, second):
    return max(abs(a - b) for a, b in zip(first.tobytes(), second.tobytes(), strict=True)) <= 2


def test_guidance_goes_one_sample_at_a_time_where_the_batch_is_too_large(pipe, batches):
    whole = redilate.generate(pipe, "apple", guidance=4, **LARGE)
    assert "sequential" not in whole.settings
    batches.most, batches.at, notes = 1, 48, []
    batches.seen.clear()
    ours = redilate.generate(pipe, "apple", guidance=4, **LARGE, on_note=notes.append)
    assert near(ours.images[0], whole.images[0]) and ours.settings["sequential"] is True
    assert notes == ["cpu ran out of memory at 384x384: once more with guidance one sample at a time"]
    small = [seen for seen in batches.seen if seen[1] == 32]
    assert set(small) == {(2, 32)} and len(small) == 3, "the leg before is kept, and was whole"
    assert [seen for seen in batches.seen if seen[0] == 2 and seen[1] == 48] == [(2, 48)], "tried once"


def test_the_next_picture_need_not_find_out_anew(pipe, batches):
    batches.most, batches.at, notes = 1, 48, []
    for _ in range(2):
        made = redilate.generate(pipe, "apple", guidance=4, **LARGE, on_note=notes.append)
        assert made.settings["sequential"] is True
    assert len(notes) == 1 and [seen for seen in batches.seen if seen == (2, 48)] == [(2, 48)]


def test_sequential_guidance_with_a_plan_is_inside_the_patch(pipe, batches):
    plan = redilate.plan_for(pipe, width=384, height=384, preset="published")
    arguments = {"guidance": 4, "strength": 1, "plan": plan, **LARGE}
    whole = redilate.generate(pipe, "apple", **arguments)
    assert near(whole.images[0], redilate.generate(pipe, "apple", sequential=True, **arguments).images[0])


def on_a_gpu(pipe, monkeypatch, batches):
    """Decisions as for cuda:1; offload is noted, and lets everything fit."""
    offloaded = []

    def enable(device):
        offloaded.append(device)
        batches.most = 99
        pipe.vae._hf_hook = object()  # as accelerate leaves one

    monkeypatch.setattr(out_of_memory, "execution_device", lambda _: GPU)
    monkeypatch.setattr(out_of_memory, "release", lambda _: None)
    monkeypatch.setattr(type(pipe), "enable_model_cpu_offload", lambda _, device: enable(device))
    return offloaded


def test_then_networks_wait_on_the_host_and_the_device_stays_the_same(pipe, batches, monkeypatch):
    offloaded, notes = on_a_gpu(pipe, monkeypatch, batches), []
    batches.most = 0
    redilate.generate(pipe, "apple", steps=1, on_note=notes.append)
    assert offloaded == [GPU]
    assert [note.split(": ")[1] for note in notes] == [
        "once more with guidance one sample at a time",
        "once more with each network in the host's memory until it is needed",
    ]


def test_an_unguided_leg_has_no_batch_to_cut(pipe, batches, monkeypatch):
    offloaded, notes = on_a_gpu(pipe, monkeypatch, batches), []
    batches.most = 0
    made = redilate.generate(pipe, "apple", steps=1, guidance=1, on_note=notes.append)
    assert offloaded == [GPU] and len(notes) == 1 and "sequential" not in made.settings


@pytest.mark.parametrize("kind", ["cpu", "offloaded"])
def test_where_no_way_is_left_it_is_said_with_the_size_and_what_would_work(pipe, batches, monkeypatch, kind):
    offloaded = on_a_gpu(pipe, monkeypatch, batches) if kind == "offloaded" else []
    if kind == "offloaded":
        pipe.vae._hf_hook = object()
    batches.most = 0
    with pytest.raises(
        RedilateError, match=r"out of memory at 256x256, in the thriftiest way too; a smaller size"
    ):
        redilate.generate(pipe, "apple", steps=1, on_note=lambda _: None)
    assert not offloaded and "decode" not in pipe.vae.__dict__ and not pipe.unet._forward_pre_hooks


def test_enlarge_and_edit_fall_back_too(pipe, batches):
    picture, notes = Image.radial_gradient("L").convert("RGB"), []
    batches.most = 1
    made = redilate.enlarge(pipe, picture, scale=1.5, prompt="a", guidance=4, steps=3, on_note=notes.append)
    assert made.settings["sequential"] is True and "384x384" in notes[0]
    made = redilate.edit(pipe, "a", picture, steps=3, guidance=4, on_note=notes.append)
    assert made.settings["sequential"] is True and "256x256" in notes[1]


@pytest.mark.parametrize("part", ["decode", "encode"])
def test_a_drawing_whose_autoencoder_runs_out_of_memory_goes_on_in_strips(pipe, batches, monkeypatch, part):
    whole = redilate.generate(pipe, "apple", guidance=4, **LARGE).images[0]
    expected, notes = len(batches.seen), []
    batches.seen.clear()

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(pipe.vae, part, fail)
    ours = redilate.generate(pipe, "apple", guidance=4, **LARGE, on_note=notes.append).images[0]
    assert len(batches.seen) == expected, "no step is done twice"
    assert near(whole, ours) and set(notes) == {
        f"cpu ran out of memory to {part} the picture: once more in strips"
    }


def test_other_errors_are_nobodys_memory(pipe, monkeypatch):
    pipe.unet.conv_in.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        redilate.generate(pipe, "apple", steps=1)


def test_a_network_that_needs_its_batch_whole_is_refused_sequential_guidance(pipe):
    pipe.unet.compile(backend="eager")
    with pytest.raises(RedilateError, match="compiled in place"):
        redilate.generate(pipe, "apple", steps=1, sequential=True)


def test_prompts_are_encoded_once_for_all_legs(pipe):
    calls = []
    pipe.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    redilate.generate(pipe, "apple", negative="pear", count=2, guidance=4, **LARGE)
    assert len(calls) == 2  # prompt and negative prompt
