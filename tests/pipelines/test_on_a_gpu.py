"""What only a GPU has: a float16 upcast, offload's hooks, pinned strips, memory that does run out."""

import pytest
import torch

import redilate
from redilate.core.conv import redilated_conv2d
from redilate.core.devices import device_bytes
from redilate.decoding import attention
from redilate.decoding import decode as decoding
from redilate.decoding.strips import StoredStrips
from redilate.pipelines import out_of_memory
from redilate.pipelines.loading import load
from redilate.pipelines.out_of_memory import autoencoder_with_fallbacks, execution_device, offload
from tests.models import tiny_sdxl

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda", 0)
LARGE = {"width": 384, "height": 384, "steps": 3, "guidance": 4}


@pytest.fixture
def pipe():
    pipe = tiny_sdxl().to(GPU)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def off_by(first, second):
    return max(abs(a - b) for a, b in zip(first.tobytes(), second.tobytes(), strict=True))


def test_a_float16_autoencoder_that_overflows_is_decoded_in_float32_in_strips_and_is_float16_again(
    pipe, monkeypatch
):
    pipe.to(torch.float16)
    pipe.vae.register_to_config(force_upcast=True)
    whole = redilate.generate(pipe, "apple", **LARGE).images[0]
    monkeypatch.setattr(out_of_memory, "_SHARE", 0.0)
    strips = redilate.generate(pipe, "apple", **LARGE).images[0]
    assert pipe.vae.dtype == torch.float16 and off_by(whole, strips) <= 8


def test_offload_keeps_the_device_and_the_picture_and_frees_the_networks(pipe):
    before = redilate.generate(pipe, "apple", **LARGE).images[0]
    assert offload(pipe) and execution_device(pipe) == GPU
    assert {part.device.type for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {"cpu"}
    for _ in range(2):
        assert off_by(redilate.generate(pipe, "apple", **LARGE).images[0], before) <= 2
    assert not offload(pipe), "once is enough"


def test_offload_may_be_switched_on_while_a_picture_is_decoded(pipe):
    latents = pipe("apple", num_inference_steps=1, output_type="latent").images
    with torch.no_grad():
        whole = pipe.vae.decode(latents).sample
    notes = []

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    pipe.vae.decode = full
    own, fails = out_of_memory.decode, iter((True, True))

    def strips(*args, **kwargs):
        return full() if next(fails, False) else own(*args, **kwargs)

    out_of_memory.decode = strips
    try:
        with (
            autoencoder_with_fallbacks(pipe, note=notes.append, make_room=lambda: offload(pipe)),
            torch.no_grad(),
        ):
            found = pipe.vae.decode(latents).sample
    finally:
        out_of_memory.decode = own
        del pipe.vae.decode
    assert len(notes) == 3 and pipe.unet.device.type == "cpu"
    torch.testing.assert_close(found, whole.clamp(-1, 1), rtol=0, atol=1e-4)


def test_strips_wait_in_pinned_memory_and_come_back_as_they_were():
    strips = list(torch.randn(1, 8, 64, 32, device=GPU).split(16, 2))
    kept = StoredStrips([strip.clone() for strip in strips], torch.device("cpu"))
    assert all(strip.is_pinned() for strip in kept._strips)
    for ours, strip in zip(kept.drain(), strips, strict=True):
        assert ours.device == strip.device and torch.equal(ours, strip)


def test_a_decode_whose_strips_wait_on_the_host_is_the_same(pipe, monkeypatch):
    monkeypatch.setattr(decoding, "_STRIP_ELSEWHERE", 2**16)
    latents = torch.randn(1, 4, 96, 64, device=GPU)
    here, host = (redilate.decode(pipe, latents, storage=place) for place in (GPU, "cpu"))
    assert torch.equal(here, host)


def test_a_decode_that_does_run_out_of_memory_ends_in_strips(pipe, monkeypatch):
    monkeypatch.setattr(decoding, "_STRIP_ELSEWHERE", 4 * 2**20)
    latents, notes = torch.randn(1, 4, 256, 256, device=GPU), []
    with torch.no_grad():
        whole = pipe.vae.decode(latents).sample.clamp(-1, 1).cpu()
        torch.cuda.empty_cache()
        bound = torch.cuda.memory_reserved(GPU) + 320 * 2**20
        torch.cuda.set_per_process_memory_fraction(bound / device_bytes(GPU)[1], GPU)
        try:
            with autoencoder_with_fallbacks(pipe, note=notes.append):
                found = pipe.vae.decode(latents).sample.cpu()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert notes and notes[0].endswith("once more in strips")
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-3)


def test_a_batch_that_does_run_out_of_memory_is_evaluated_one_sample_at_a_time(pipe):
    whole = redilate.generate(pipe, "apple", **LARGE).images[0]
    notes, hold = [], []

    def enter(_module, args):
        if args[0].shape[0] > 1 and args[0].shape[-1] == 48:
            hold.append(
                torch.empty(device_bytes(GPU)[1], dtype=torch.uint8, device=GPU)
            )  # more than there is

    hook = pipe.unet.conv_in.register_forward_pre_hook(enter)
    made = redilate.generate(pipe, "apple", **LARGE, on_note=notes.append)
    hook.remove()
    assert made.settings["sequential"] and "one sample at a time" in notes[0]
    assert off_by(made.images[0], whole) <= 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_autoencoder_s_attention_takes_many_queries_at_once(dtype):
    keys = torch.randn(1, 1, 4096, 512, device=GPU, dtype=dtype)
    assert attention._queries_at_once(keys, keys, 4096) == attention._FUSED_QUERIES


@pytest.mark.parametrize("form", ["taps", "channels"])
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "channels last"])
def test_dilations_between_whole_ones_are_those_of_a_cpu(form, last):
    features, weight = torch.randn(2, 24, 20, 28), torch.randn(8, 24, 3, 3)
    given = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "factor": (1.5, 2.5)}
    expected = redilated_conv2d(features.double(), weight.double(), None, fractional=form, **given)
    kind = torch.channels_last if last else torch.contiguous_format
    features, weight = (one.to(GPU).double().to(memory_format=kind) for one in (features, weight))
    ours = redilated_conv2d(features, weight, None, fractional=form, **given)
    torch.testing.assert_close(ours.cpu(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("how", ["model", "sequential"])
def test_a_model_loaded_under_offload_draws(how):
    pipe = load(device="cuda", offload=how)
    pipe.set_progress_bar_config(disable=True)
    assert redilate.generate(pipe, "a red apple", steps=1).images[0].size == (256, 256)
    assert pipe.unet.device.type in ("cpu", "meta")
