"""The estimate that `redilate plan` shows: how it grows, how far it is off, and that it takes no time."""

import time

import pytest
import torch
from diffusers import AutoencoderKL

import redilate
from redilate.core.devices import device_bytes, is_out_of_memory
from redilate.pipelines.memory import memory_for, unet_bytes
from tests.full_size import full_size_unet
from tests.models import tiny_sd15, tiny_sdxl

MIB = 2**20
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    return request.param()


def test_needs_grow_with_the_picture_halve_with_sequential_guidance_and_less_in_strips(pipe):
    small, large = (memory_for(pipe, side, side, device="cuda") for side in (1024, 2048))
    assert small.weights == large.weights > 0
    assert large.unet == 4 * small.unet and large.decode == 4 * small.decode
    assert large.unet_sequential == large.unet / 2
    assert memory_for(pipe, 1024, 1024, guided=False, device="cuda").unet == small.unet_sequential
    huge = memory_for(pipe, 8192, 8192, device="cuda")
    assert huge.decode_strips < huge.decode / 2.5
    assert "in strips" in str(small) and "sequential" in str(small) and "about (measured" in str(small)


# The growth of a process at its peak, in MiB (docs/performance.md).
@pytest.mark.parametrize(
    ("family", "side", "dtype", "measured"),
    [
        ("sd15", 512, torch.float32, 213),
        ("sd15", 1024, torch.float32, 869),
        ("sd15", 1024, torch.bfloat16, 636 / 2),
        ("sd15", 2048, torch.bfloat16, 1058),
        ("sdxl", 1024, torch.bfloat16, 193),
        ("sdxl", 2048, torch.bfloat16, 802),
    ],
)
def test_it_is_about_what_was_measured(family, side, dtype, measured):
    unet = torch.nn.Module.to(full_size_unet(family), dtype)
    needed = unet_bytes(unet, side // 8, side // 8, CPU)
    torch.nn.Module.to(unet, torch.float32)
    assert 0.7 < measured * MIB / needed < 1.4


def test_sdxl_s_decode_is_about_what_was_measured_and_no_time_is_taken():
    pipe = tiny_sdxl()
    pipe.unet = full_size_unet("sdxl")
    with torch.device("meta"):
        pipe.vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
    started = time.perf_counter()
    needed = memory_for(pipe, 2048, 2048, device="cuda")
    assert time.perf_counter() - started < 1
    assert 0.9 < 15200 * MIB / needed.decode < 1.1 and needed.decode_strips < needed.decode / 4


def test_half_types_take_half_and_fp8_weights_are_computed_with_in_another_type(pipe):
    whole = memory_for(pipe, 1024, 1024).unet
    half = memory_for(type(pipe)(**_parts(pipe, pipe.unet.half())), 1024, 1024).unet
    pipe.unet.float()
    assert half == pytest.approx(whole / 2, abs=1)
    other = tiny_sdxl()
    plain = memory_for(other, 256, 256).unet
    other.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert memory_for(other, 256, 256).unet == plain


def _parts(pipe, unet):
    flags = {"requires_safety_checker": False} if "safety_checker" in pipe.components else {}
    return {**pipe.components, "unet": unet, **flags}


@pytest.mark.parametrize("kind", ["UNetMotionModel", "UNetSpatioTemporalConditionModel"])
def test_of_a_video_network_nothing_is_known(kind):
    import diffusers

    with torch.device("meta"):
        unet = getattr(diffusers, kind)()
    assert unet_bytes(unet, 32, 32, GPU) is None


def test_this_machine_has_memory():
    free, total = device_bytes(CPU)
    assert 0 < free <= total


def test_every_device_s_word_for_too_little_memory_is_known():
    for error in (
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ):
        assert is_out_of_memory(error), error
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(redilate.RedilateError("it ran out of memory"))


def test_a_refusal_by_the_kernel_is_known():
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**50)
    assert is_out_of_memory(refusal.value)
