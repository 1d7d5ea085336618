"""Loading: the bundled model in stock classes, folders, and what is refused before anything is read."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, StableDiffusionXLPipeline

import redilate
from redilate import RedilateError
from redilate.pipelines.loading import BUNDLED
from tests.models import tiny_sdxl


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


@pytest.mark.parametrize("network", ["unet", "vae"])
def test_on_a_cpu_kernels_are_channels_last(bundled, network):
    modules = getattr(bundled, network).modules()
    kernels = [module.weight for module in modules if isinstance(module, torch.nn.Conv2d)]
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


@pytest.fixture(scope="module")
def half_folder(tmp_path_factory):
    """A model that holds nothing but the variant fp16."""
    folder = tmp_path_factory.mktemp("half") / "model"
    tiny_sdxl().to(torch.float16).save_pretrained(folder, variant="fp16")
    assert not list(folder.rglob("diffusion_pytorch_model.safetensors"))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The variants that diffusers was asked for."""
    variants = []
    own = DiffusionPipeline.from_pretrained.__func__

    def noting(cls, name, **given):
        variants.append(given.get("variant"))
        return own(cls, name, **given)

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(noting))
    return variants


@pytest.mark.parametrize(("dtype", "tries"), [(torch.float16, ["fp16"]), (torch.float32, [None, "fp16"])])
def test_a_model_that_holds_only_fp16_is_loaded_in_any_precision(half_folder, asked, dtype, tries):
    pipe = redilate.load(half_folder, device="cpu", dtype=dtype)
    assert asked == tries and pipe.unet.dtype == pipe.text_encoder.dtype == dtype


@pytest.mark.parametrize(("dtype", "tries"), [(torch.float16, ["fp16", None]), (torch.float32, [None])])
def test_in_half_precision_the_half_files_are_asked_for_first(tiny_pipeline_folder, asked, dtype, tries):
    assert redilate.load(tiny_pipeline_folder, device="cpu", dtype=dtype).unet.dtype == dtype
    assert asked == tries


def test_a_variant_that_is_asked_for_is_the_one_or_none(half_folder, tiny_pipeline_folder, asked):
    redilate.load(half_folder, device="cpu", variant="fp16")
    with pytest.raises(RedilateError, match=r"cannot load the model .*variant=fp16"):
        redilate.load(tiny_pipeline_folder, device="cpu", variant="fp16")
    assert asked == ["fp16", "fp16"]


def test_what_is_said_of_a_broken_model_is_said_of_its_plain_files(tmp_path):
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]})
    )
    with pytest.raises(RedilateError) as refusal:
        redilate.load(tmp_path, device="cpu")
    assert "fp16" not in str(refusal.value)


def test_another_autoencoder_may_be_a_folder(tiny_pipeline_folder, tmp_path):
    other = tiny_sdxl(seed=7).vae
    other.register_to_config(force_upcast=False, scaling_factor=0.5)
    other.save_pretrained(tmp_path)
    pipe = redilate.load(tiny_pipeline_folder, device="cpu", vae=tmp_path)
    assert pipe.vae.config.scaling_factor == 0.5
    assert torch.equal(pipe.vae.decoder.conv_in.weight, other.decoder.conv_in.weight)


def test_a_tiny_autoencoder_is_taken_and_another_kind_refused_by_name(tiny_pipeline_folder, tmp_path):
    AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).save_pretrained(
        tmp_path
    )
    assert isinstance(redilate.load(tiny_pipeline_folder, device="cpu", vae=tmp_path).vae, AutoencoderTiny)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"AutoencoderTiny"', '"VQModel"'))
    with pytest.raises(RedilateError, match="VQModel; AutoencoderKL and AutoencoderTiny work"):
        redilate.load(tiny_pipeline_folder, device="cpu", vae=tmp_path)


def test_fp16_fix_stands_for_its_hub_name(tiny_pipeline_folder, monkeypatch):
    names, vae = [], tiny_sdxl().vae
    monkeypatch.setattr(AutoencoderKL, "from_pretrained", lambda name, **_: names.append(name) or vae)
    assert redilate.load(tiny_pipeline_folder, device="cpu", vae="fp16-fix").vae is vae
    assert names == ["madebyollin/sdxl-vae-fp16-fix"]


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """Two LoRAs' files, for the tiny model."""
    pytest.importorskip("peft")
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    folder, files = tmp_path_factory.mktemp("loras"), []
    for seed in (1, 2):
        pipe = tiny_sdxl()
        torch.manual_seed(seed)
        pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
        StableDiffusionXLPipeline.save_lora_weights(
            folder, unet_lora_layers=layers, weight_name=f"{seed}.safetensors"
        )
        files.append(folder / f"{seed}.safetensors")
    return files


def test_loras_are_loaded_with_their_weights_and_all_are_in_force(tiny_pipeline_folder, loras):
    first, second = loras
    draw = lambda lora: redilate.generate(  # noqa: E731
        redilate.load(tiny_pipeline_folder, device="cpu", lora=lora), "a", steps=1
    ).images[0].tobytes()  # fmt: skip
    pictures = [draw(one) for one in ((), first, f"{first}:0", f"{first}:0.5", [first, f"{second}:2"])]
    assert pictures[0] == pictures[2] and len(set(pictures)) == 4
    pipe = redilate.load(tiny_pipeline_folder, device="cpu", lora=[first, f"{second}:2"])
    assert pipe.get_active_adapters() == ["lora0", "lora1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lora": "none.safetensors"}, "there is no LoRA at none.safetensors"),
        ({"lora": "owner/name:strong"}, "has the weight 'strong'; a number such as 0.8 works"),
        ({"vae": "none"}, "there is no autoencoder at none"),
        ({"offload": "model"}, "offload 'model' keeps networks out of a GPU's memory, and cpu has none"),
    ],
)
def test_what_goes_with_a_model_is_refused_by_name_too(tiny_pipeline_folder, arguments, says):
    with pytest.raises(RedilateError, match=says):
        redilate.load(tiny_pipeline_folder, device="cpu", **arguments)


def test_pickled_weights_are_not_loaded(tmp_path, tiny_pipeline_folder):
    (tmp_path / "style.pt").write_bytes(b"")
    for what in ("vae", "lora"):
        with pytest.raises(RedilateError, match="pickled weights are not loaded"):
            redilate.load(tiny_pipeline_folder, device="cpu", **{what: str(tmp_path / "style.pt")})


@pytest.mark.parametrize("offload", ["none", None, "model", "sequential"])
def test_where_the_networks_do_not_fit_together_they_wait_on_the_host(monkeypatch, offload):
    called, notes = [], []

    def full(_self, device):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(DiffusionPipeline, "to", full)
    for how in ("model", "sequential"):
        monkeypatch.setattr(
            DiffusionPipeline,
            f"enable_{how}_cpu_offload",
            lambda _, device, how=how: called.append((how, device)),
        )
    load = lambda: redilate.load(device="cuda:1", offload=offload, on_note=notes.append)  # noqa: E731
    if offload == "none":
        with pytest.raises(torch.OutOfMemoryError):
            load()
        return
    load()
    assert called == [(offload or "model", "cuda:1")]
    assert len(notes) == (offload is None)


@pytest.mark.parametrize(
    ("device", "dtype", "last"),
    [("cpu", torch.float32, True), ("cuda", torch.float16, True), ("cuda", torch.float32, False)],
)
def test_kernels_are_laid_out_as_the_device_wants_them(monkeypatch, device, dtype, last):
    monkeypatch.setattr(DiffusionPipeline, "to", lambda self, _device: self)
    kernel = redilate.load(device=device, dtype=dtype).unet.down_blocks[0].resnets[0].conv1.weight
    assert kernel.is_contiguous(memory_format=torch.channels_last) is last
