"""What a plan adds to a U-Net's activations."""

import pytest
import torch

import redilate
from redilate import Plan
from redilate.core.patch import find_patch
from redilate.pipelines import counting
from redilate.pipelines.counting import unet_bytes
from redilate.plans.plan import NoiseDamping, Windows
from redilate.plans.structure import convolutions
from tests.models import tiny_sdxl


@pytest.fixture(scope="module")
def pipe():
    return tiny_sdxl()


def count(pipe, side, plan=None, device="cuda"):
    return unet_bytes(pipe, 2, side // 8, side // 8, torch.device(device), plan)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_whole_dilations_take_what_the_network_as_trained_takes_and_halves_more(pipe, device):
    whole, half = (redilate.plan_for(pipe, width=side, height=side) for side in (512, 640))
    assert set(whole.dilation.values()) == {(2.0, 2.0)}
    assert set(half.dilation.values()) == {(2.5, 2.5)}
    assert count(pipe, 512, whole, device) == count(pipe, 512, None, device)
    assert 1.2 < count(pipe, 640, half, device) / count(pipe, 640, None, device) < 2


@pytest.mark.parametrize(("side", "device", "mebibytes"), [(640, "cpu", 66.5), (640, "cuda", 61.2)])
def test_the_bundled_model_needs_what_the_documentation_says(side, device, mebibytes):
    pipe = redilate.load(device="cpu")
    plan = redilate.plan_for(pipe, width=side, height=side)
    assert count(pipe, side, plan, device) / 2**20 == pytest.approx(mebibytes, abs=0.1)


def test_every_noise_level_counts_of_a_plan_that_changes(pipe):
    names = list(convolutions(pipe.unet))
    halves, wholes = (Plan(dilation=dict.fromkeys(names, (d, d))) for d in (1.5, 2.0))
    smooth = wholes.model_copy(update={"schedule": "smooth"})  # 2, then 1.5, then 1
    damped = wholes.model_copy(update={"noise_damping": NoiseDamping(dilation=halves.dilation, until=0.3)})
    assert count(pipe, 512, smooth) == count(pipe, 512, damped) == count(pipe, 512, halves)
    assert count(pipe, 512, halves) > count(pipe, 512, wholes)


def test_a_stage_that_starts_below_where_a_plan_ends_is_as_trained(pipe):
    half = redilate.plan_for(pipe, width=640, height=640)
    given = pipe, 2, 80, 80, torch.device("cuda")
    assert unet_bytes(*given, half, noise=half.until - 0.01) == unet_bytes(*given)
    assert unet_bytes(*given, half, noise=half.until) == unet_bytes(*given, half)


def test_windows_are_counted_as_the_copies_that_they_are(pipe):
    plan = redilate.plan_for(pipe, width=512, height=512, windows=0.5)
    assert isinstance(plan.windows, Windows)
    assert count(pipe, 512, plan) >= count(pipe, 512)
    assert len(counting._phases(plan)) == 1


def test_how_weights_are_stored_changes_nothing(tmp_path):
    """A U-Net loaded with a quantisation, whose configuration then holds an object; and narrowly stored weights."""
    diffusers = pytest.importorskip("diffusers")
    quantization = pytest.importorskip("torchao.quantization")
    pipe = tiny_sdxl()
    plain = count(pipe, 256)
    pipe.unet.save_pretrained(tmp_path)
    how = diffusers.TorchAoConfig(quantization.Int8WeightOnlyConfig())
    pipe.unet = type(pipe.unet).from_pretrained(tmp_path, quantization_config=how, torch_dtype=torch.float32)
    assert pipe.unet.config["quantization_config"] is not None
    assert count(pipe, 256) == plain
    pipe = tiny_sdxl()
    pipe.unet.register_to_config(quantization_config=diffusers.BitsAndBytesConfig(load_in_8bit=True))
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert count(pipe, 256) == plain


@pytest.mark.parametrize("kind", ["UNetMotionModel", "UNetSpatioTemporalConditionModel"])
def test_of_a_video_network_nothing_is_known(pipe, kind):
    import diffusers

    with torch.device("meta"):
        unet = getattr(diffusers, kind)()
    assert count(unet, 256) is None


def test_dispersed_kernels_are_kept_beside_the_features(pipe):
    names = list(convolutions(pipe.unet))
    plain = Plan(dilation=dict.fromkeys(names, (2.0, 2.0)))
    dispersed = plain.model_copy(update={"dispersed": frozenset(names)})
    assert count(pipe, 256, dispersed) > count(pipe, 256, plain)


def test_the_counted_network_is_left_as_it_was(pipe):
    half = redilate.plan_for(pipe, width=640, height=640)
    before = count(pipe, 640)
    count(pipe, 640, half)
    counting._unet_bytes.cache_clear()
    assert count(pipe, 640) == before and find_patch(pipe.unet) is None
