"""The estimate of what a size needs, the refusal, the choice of strips, and what is left of them."""

import copy
import re
from functools import partial

import pytest
import torch

import redilate
from redilate import RedilateError
from redilate.pipelines import counting, memory
from redilate.pipelines.decoder import autoencoding_in_strips
from redilate.pipelines.memory import TooLarge, check_memory, decodes_in_strips, device_bytes, memory_for
from redilate.pipelines.sparing import choose_sequential
from tests.full_size import full_size_unet
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def as_trained(width, height):
    return None


def draw(pipe):
    return pipe(
        "a",
        width=384,
        height=256,
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(1),
        output_type="pt",
    ).images


def test_needs_grow_with_the_picture_halve_with_sequential_guidance_and_less_in_strips(pipe):
    # For a GPU: a CPU's heap keeps more or less as sizes happen to fit.
    small, large = (memory_for(pipe, side, side, device="cuda") for side in (1024, 2048))
    assert small.weights == large.weights > 0
    assert 3.5 < large.unet / small.unet < 4.5 and 3.9 < large.decode / small.decode < 4.1
    assert 0.4 < large.unet_sequential / large.unet < 0.6
    assert memory_for(pipe, 1024, 1024, guided=False, device="cuda").unet == small.unet_sequential
    huge = memory_for(pipe, 8192, 8192, device="cuda")
    assert huge.decode_strips < huge.decode / 4
    assert huge.activations() == max(huge.unet, huge.decode_strips)
    assert "in strips" in str(small) and "sequential" in str(small)


def test_inference_mode_changes_no_figure():
    plain = memory_for(tiny_sdxl(), 512, 512)
    for counted in (counting._unet_bytes, counting._decoder_bytes, counting._rebuilt):
        counted.cache_clear()
    with torch.inference_mode():
        assert memory_for(tiny_sdxl(), 512, 512) == plain


def test_channels_last_needs_less(pipe):
    plain, before = memory_for(pipe, 1024, 1024), pipe.vae
    pipe.vae = copy.deepcopy(before).to(memory_format=torch.channels_last)
    assert memory_for(pipe, 1024, 1024).decode < plain.decode
    pipe.vae = before


def test_half_types_take_half(pipe):
    whole = memory_for(pipe, 1024, 1024)
    pipe.unet.half()
    assert memory_for(pipe, 1024, 1024).unet < 0.6 * whole.unet
    pipe.unet.float()


def test_full_size_sdxl_holds_its_skip_connections_and_not_its_weights():
    pipe = tiny_sdxl()
    pipe.unet = full_size_unet("sdxl")
    # In float32 for two samples: six of the nine skips wait at the middle of the network, 320 and 640 channels.
    skips = 2 * 4 * (4 * 320 * 128**2 + 3 * 640 * 64**2 + 2 * 1280 * 32**2)
    assert skips < memory_for(pipe, 1024, 1024).unet < 8 * skips < 4 * 2_567_463_684


def test_what_no_device_holds_is_refused_with_the_figure_before_any_work(pipe):
    calls = []
    hook = pipe.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    with pytest.raises(
        RedilateError, match=r"65536x65536 needs about .* GiB beside the weights.*free; \d+x\d+ needs"
    ):
        redilate.generate(pipe, "a", width=65536, height=65536, steps=1)
    hook.remove()
    assert not calls


def test_offload_is_named_where_the_weights_of_the_other_networks_are_what_is_too_much(on_a_device):
    pipe, hold = on_a_device
    needed = memory_for(pipe, 1024, 1024).activations(sequential=True)
    others = sum(memory._weights(part) for part in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2))
    ask = partial(choose_sequential, pipe, 1024, 1024, plan_at=as_trained, guided=True)
    hold(needed - others)
    with pytest.raises(TooLarge, match=r"enable_model_cpu_offload\(\) in place of .* frees") as refusal:
        ask()
    assert refusal.value.offload
    hold(needed - others - 1)
    with pytest.raises(TooLarge, match="512x512 needs") as refusal:
        ask()
    assert not refusal.value.offload


def test_on_a_cpu_offload_would_free_nothing(pipe, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda _device: (2**20, 2**30))
    with pytest.raises(RedilateError) as refusal:
        check_memory(pipe, 1024, 1024, plan_at=as_trained, guided=False, sequential=False)
    assert "offload" not in str(refusal.value)


def test_a_size_between_multiples_is_refused_by_what_its_plan_needs(on_a_device):
    pipe, hold = on_a_device
    plain = memory_for(pipe, 640, 640)
    ours = memory_for(pipe, 640, 640, plan=redilate.plan_for(pipe, width=640, height=640))
    assert ours.unet > 1.05 * plain.unet

    def plan_at(width, height):
        return redilate.plan_for(pipe, width=width, height=height)

    hold(plain.activations())
    check_memory(pipe, 640, 640, plan_at=as_trained, guided=True, sequential=False)
    with pytest.raises(RedilateError, match=re.escape(memory.gigabytes(ours.unet))):
        check_memory(pipe, 640, 640, plan_at=plan_at, guided=True, sequential=False)


def test_this_machine_has_memory():
    free, total = device_bytes(torch.device("cpu"))
    assert 0 < free <= total


def test_strips_are_chosen_for_pictures_that_are_large_for_the_device(pipe, monkeypatch):
    assert not decodes_in_strips(pipe, 256, 256)
    whole = memory_for(pipe, 384, 256).decode
    monkeypatch.setattr(memory, "device_bytes", lambda _device: (10 * whole, 3 * whole))
    assert decodes_in_strips(pipe, 384, 256)
    pipe.vae.enable_tiling()
    assert not decodes_in_strips(pipe, 384, 256)
    pipe.vae.disable_tiling()


def test_on_a_cpu_strips_are_chosen_earlier_since_they_are_faster(pipe, monkeypatch):
    whole = memory_for(pipe, 384, 256).decode
    monkeypatch.setattr(memory, "STRIPS_ABOVE_ON_CPU", whole)
    assert not decodes_in_strips(pipe, 384, 256)
    monkeypatch.setattr(memory, "STRIPS_ABOVE_ON_CPU", whole - 1)
    assert decodes_in_strips(pipe, 384, 256)
    monkeypatch.setattr(memory, "execution_device", lambda _pipe: torch.device("meta"))
    monkeypatch.setattr(memory, "device_bytes", lambda _device: (10 * whole, 5 * whole))
    assert not decodes_in_strips(pipe, 384, 256)


def test_a_pipeline_autoencoding_in_strips_gives_the_same_picture_and_is_left_as_it_was(pipe):
    plain, decode = draw(pipe), pipe.vae.decode
    with autoencoding_in_strips(pipe):
        assert pipe.vae.decode != decode
        torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
    assert pipe.vae.decode == decode and "decode" not in pipe.vae.__dict__
    with pytest.raises(KeyboardInterrupt), autoencoding_in_strips(pipe):
        raise KeyboardInterrupt
    assert "decode" not in pipe.vae.__dict__ and torch.equal(draw(pipe), plain)


def test_a_users_own_decode_is_there_again_afterwards_and_strips_may_be_nested(pipe):
    calls = []
    own = pipe.vae.decode

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return own(*args, **kwargs)

    pipe.vae.decode = counted  # as `torch.compile(pipe.vae.decode)` is put there
    plain = draw(pipe)
    with autoencoding_in_strips(pipe):
        outer = pipe.vae.decode
        with autoencoding_in_strips(pipe):
            torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
        assert pipe.vae.decode is outer
        torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
    assert pipe.vae.decode is counted and len(calls) == 1
    assert torch.equal(draw(pipe), plain) and len(calls) == 2
    del pipe.vae.decode


def test_a_pipeline_encodes_in_strips_too_as_image_to_image_asks_for_it(pipe):
    image = torch.rand(2, 3, 264, 248) * 2 - 1
    with torch.no_grad():
        whole = pipe.vae.encode(image).latent_dist
        with autoencoding_in_strips(pipe):
            strips = pipe.vae.encode(image).latent_dist
            (as_tuple,) = pipe.vae.encode(image, return_dict=False)
    torch.testing.assert_close(strips.parameters, whole.parameters, rtol=0, atol=1e-5)
    assert torch.equal(as_tuple.parameters, strips.parameters)
    assert "encode" not in pipe.vae.__dict__
