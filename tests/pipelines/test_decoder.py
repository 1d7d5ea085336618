"""The autoencoder's ways: which is taken, that each gives the same, and what follows where one runs out of memory."""

import pytest
import torch

from redilate import RedilateError
from redilate.pipelines import out_of_memory
from redilate.pipelines.out_of_memory import autoencoder_with_fallbacks
from tests.models import tiny_sd15, tiny_sdxl

GPU = torch.device("cuda", 1)


@pytest.fixture(params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe):
    return pipe(
        "a",
        width=384,
        height=256,
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(1),
        output_type="pt",
    ).images


@pytest.fixture
def ways(monkeypatch):
    """What was tried, in order; names put into `failing` run out of memory."""
    tried, failing = [], set()

    def noting(name, inner):
        def call(*args, **kwargs):
            way = f"{name} {kwargs.get('storage') or 'on the device'}"
            tried.append(way)
            if way in failing:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return inner(*args, **kwargs)

        return call

    for name in ("decode", "posterior_of"):
        monkeypatch.setattr(out_of_memory, name, noting(name, getattr(out_of_memory, name)))
    return tried, failing


def within(pipe, notes, **further):
    return autoencoder_with_fallbacks(pipe, note=notes.append, **further)


def in_strips(monkeypatch):
    monkeypatch.setattr(out_of_memory, "_WHOLE_ON_CPU", 0)


def on_a_gpu(monkeypatch, free=2**40):
    """Decisions as for a GPU; the work is done here."""
    monkeypatch.setattr(out_of_memory, "computing_device", lambda *_: GPU)
    monkeypatch.setattr(out_of_memory, "device_bytes", lambda _: (free, free))
    monkeypatch.setattr(out_of_memory, "release", lambda _: None)


def failing_whole(pipe, monkeypatch, error=None):
    def fail(*_, **__):
        raise error or torch.OutOfMemoryError("CUDA out of memory.")

    for name in ("decode", "encode"):
        monkeypatch.setattr(pipe.vae, name, fail)


def test_a_small_picture_is_decoded_as_the_pipeline_does(pipe, ways):
    plain, notes = draw(pipe), []
    with within(pipe, notes):
        assert torch.equal(draw(pipe), plain)
    assert ways == ([], set()) and not notes and "decode" not in pipe.vae.__dict__


def test_strips_give_the_same_picture_and_the_pipeline_is_left_as_it_was(pipe, ways, monkeypatch):
    plain, notes = draw(pipe), []
    in_strips(monkeypatch)
    with within(pipe, notes):
        torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
    assert ways[0] == ["decode on the device"] and not notes
    with pytest.raises(KeyboardInterrupt), within(pipe, notes):
        raise KeyboardInterrupt
    assert "decode" not in pipe.vae.__dict__ and torch.equal(draw(pipe), plain)


def test_strips_are_taken_by_what_is_free_at_that_moment(pipe, ways, monkeypatch):
    from redilate.decoding.decode import whole_decode_bytes

    needed = whole_decode_bytes(pipe.vae, 32, 48)
    with within(pipe, []):
        on_a_gpu(monkeypatch, needed / out_of_memory._SHARE + 2)
        draw(pipe)
        assert not ways[0]
        on_a_gpu(monkeypatch, needed / out_of_memory._SHARE - 2)
        draw(pipe)
        assert len(ways[0]) == 1
        pipe.vae.enable_tiling()
        draw(pipe)
        assert len(ways[0]) == 1, "the user's own tiling is kept"


def test_under_offload_the_network_before_leaves_before_free_memory_is_looked_at(pipe, monkeypatch):
    order = []

    class Hook:
        def pre_forward(self, _module, *args, **kwargs):
            order.append("left")
            return args, kwargs

    pipe.vae._hf_hook = Hook()
    in_strips(monkeypatch)
    monkeypatch.setattr(out_of_memory, "device_bytes", lambda _: (order.append("looked"), (2**40, 2**40))[1])
    with within(pipe, []), torch.no_grad():
        pipe.vae.decode(torch.randn(1, 4, 4, 4))
    assert order[:2] == ["left", "looked"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_decode_that_runs_out_of_memory_is_done_in_strips_from_the_same_latents(
    pipe, ways, monkeypatch, error
):
    plain, notes, calls = draw(pipe), [], []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    failing_whole(pipe, monkeypatch, error)
    with within(pipe, notes):
        torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
    hook.remove()
    assert notes == ["cpu ran out of memory to decode the picture: once more in strips"]
    assert len(calls) == 1, "nothing is denoised anew"


def test_on_a_gpu_strips_wait_on_the_host_then_the_other_networks_make_room(pipe, ways, monkeypatch):
    plain, notes, moved = draw(pipe), [], []
    tried, failing = ways
    on_a_gpu(monkeypatch)
    failing_whole(pipe, monkeypatch)
    failing |= {"decode on the device"}
    with within(pipe, notes):
        torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
    assert tried == ["decode on the device", "decode cpu"] and notes[-1].endswith("wait in the host's memory")
    failing |= {"decode cpu"}

    def make_room():
        moved.append(1)
        failing.clear()
        return True

    with within(pipe, notes, make_room=make_room):
        torch.testing.assert_close(draw(pipe), plain, rtol=0, atol=1e-5)
    assert moved == [1] and "other networks moved to the host's memory" in notes[-1]


def test_where_no_way_fits_it_is_said_and_other_errors_are_not_touched(pipe, ways, monkeypatch):
    ways[1].add("decode on the device")
    failing_whole(pipe, monkeypatch)
    with (
        within(pipe, []),
        pytest.raises(
            RedilateError, match=r"cpu has too little memory to decode .* even in strips; a smaller size"
        ),
    ):
        draw(pipe)
    failing_whole(pipe, monkeypatch, RuntimeError("mat1 and mat2"))
    with within(pipe, []), pytest.raises(RuntimeError, match="mat1"):
        draw(pipe)


def test_an_encode_falls_back_too_as_image_to_image_asks_for_it(pipe, ways, monkeypatch):
    image = torch.rand(2, 3, 264, 248) * 2 - 1
    notes = []
    with torch.no_grad():
        whole = pipe.vae.encode(image).latent_dist
        failing_whole(pipe, monkeypatch)
        with within(pipe, notes):
            strips = pipe.vae.encode(image).latent_dist
            (as_tuple,) = pipe.vae.encode(image, return_dict=False)
    torch.testing.assert_close(strips.parameters, whole.parameters, rtol=0, atol=1e-5)
    assert torch.equal(as_tuple.parameters, strips.parameters)
    assert notes == ["cpu ran out of memory to encode the picture: once more in strips"] * 2


def test_a_users_own_decode_is_there_again_afterwards_and_may_be_nested(pipe):
    calls = []
    own = pipe.vae.decode

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return own(*args, **kwargs)

    pipe.vae.decode = counted  # as `torch.compile(pipe.vae.decode)` is put there
    with within(pipe, []):
        outer = pipe.vae.decode
        with within(pipe, []):
            draw(pipe)
        assert pipe.vae.decode is outer
    assert pipe.vae.decode is counted and len(calls) == 1


def test_an_autoencoder_that_knows_no_strips_is_decoded_in_its_own_way(pipe, monkeypatch):
    pipe.vae.decoder.up_blocks[0].resnets[0].conv1.padding_mode = "circular"
    in_strips(monkeypatch)
    plain = draw(pipe)
    with within(pipe, []):
        assert torch.equal(draw(pipe), plain)
    failing_whole(pipe, monkeypatch)
    with within(pipe, []), pytest.raises(RedilateError, match="to decode the picture; a smaller size"):
        draw(pipe)


def test_an_autoencoder_that_was_upcast_for_a_decode_that_failed_is_in_its_own_type_again(pipe, monkeypatch):
    kind = pipe.vae.dtype
    failing_whole(pipe, monkeypatch, RuntimeError("shapes"))
    pipe_in_float64 = lambda: pipe.vae.to(torch.float64).decode(torch.randn(1, 4, 8, 8))  # noqa: E731
    with pytest.raises(RuntimeError, match="shapes"), within(pipe, []):
        pipe_in_float64()
    assert pipe.vae.dtype == kind
