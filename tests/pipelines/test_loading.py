"""Loading: the bundled model in stock classes, folders, and what is refused before anything is read."""

import json

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline

import redilate
from redilate import RedilateError
from redilate.pipelines.loading import BUNDLED


@pytest.fixture(scope="module")
def bundled():
    return redilate.load(device="cpu")


def test_the_bundled_model_is_a_stock_sdxl_pipeline_at_256(bundled):
    assert type(bundled) is StableDiffusionXLPipeline
    assert bundled.unet.config.sample_size * bundled.vae_scale_factor == 256
    assert {part.dtype for part in (bundled.unet, bundled.vae, bundled.text_encoder_2)} == {torch.float32}


def test_stock_diffusers_loads_the_bundled_folder_by_itself(bundled):
    stock = DiffusionPipeline.from_pretrained(BUNDLED)

    def draw(pipe):
        arguments = {"num_inference_steps": 2, "output_type": "latent"}
        return pipe("a red apple", generator=torch.Generator().manual_seed(0), **arguments).images

    ours = draw(bundled)
    torch.testing.assert_close(draw(stock), ours, rtol=1e-3, atol=1e-4)
    stock.unet.to(memory_format=torch.channels_last)  # as `load` does on a CPU: other kernels, other rounding
    assert torch.equal(draw(stock), ours)


def test_the_bundled_weights_are_safetensors_of_30_megabytes_at_most():
    weights = [path for path in BUNDLED.rglob("*") if path.suffix in {".safetensors", ".bin", ".pt", ".ckpt"}]
    assert {path.suffix for path in weights} == {".safetensors"}
    assert sum(path.stat().st_size for path in weights) <= 30_000_000


def test_on_a_cpu_the_u_net_s_kernels_are_channels_last(bundled):
    kernels = [module.weight for module in bundled.unet.modules() if isinstance(module, torch.nn.Conv2d)]
    spatial = [kernel for kernel in kernels if max(kernel.shape[2:]) > 1]
    assert spatial and all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in spatial)


def test_a_precision_can_be_asked_for():
    assert redilate.load(device="cpu", dtype=torch.bfloat16).unet.dtype == torch.bfloat16


def test_a_folder_is_loaded_as_the_pipeline_that_it_holds(tiny_pipeline_folder):
    assert type(redilate.load(tiny_pipeline_folder, device="cpu")) is StableDiffusionXLPipeline


def flux_folder(tmp_path):
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]})
    )
    return tmp_path


def empty_folder(tmp_path):
    return tmp_path


def broken_index(tmp_path):
    (tmp_path / "model_index.json").write_text("{")
    return tmp_path


def pickled(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"")
    return tmp_path / "model.ckpt"


def broken_checkpoint(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (flux_folder, "FluxPipeline has no diffusion U-Net"),
        (empty_folder, "no model_index.json"),
        (broken_index, "is not JSON"),
        (pickled, "not a .safetensors file"),
        (broken_checkpoint, "cannot load the model"),
        (lambda _: "no-such-folder", "there is no model at no-such-folder"),
        (lambda _: "models/missing.safetensors", "there is no model at models/missing.safetensors"),
        (lambda _: "../a/b/c", "there is no model"),
    ],
)
def test_what_cannot_be_loaded_is_refused_by_name(tmp_path, make, says):
    with pytest.raises(RedilateError, match=says):
        redilate.load(make(tmp_path), device="cpu")


def test_a_hub_name_with_dots_is_a_hub_name():
    from redilate.pipelines.loading import check_model

    check_model("stabilityai/stable-diffusion-xl-base-1.0")
