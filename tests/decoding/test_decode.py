"""`decode` and `encode` against the autoencoder's own, whole, at odd sizes, in every type; and what they leave."""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, AutoencoderTiny
from PIL import Image
from torch.nn import functional

import redilate
from redilate import RedilateError
from redilate.decoding import decode as module
from redilate.decoding.attention import attend
from redilate.decoding.steps import computing_device
from redilate.decoding.strips import StoredStrips
from tests.models import tiny_sdxl

LAYOUTS = {
    "as the bundled one": {"block_out_channels": (8, 16, 24, 32), "layers_per_block": 1},
    "as SDXL's": {"block_out_channels": (8, 16, 32, 32), "layers_per_block": 2},
    "without attention": {
        "block_out_channels": (8, 16),
        "layers_per_block": 2,
        "mid_block_add_attention": False,
    },
    "without quant convolutions": {
        "block_out_channels": (8, 16),
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "latent_channels": 16,
    },
}


def autoencoder(**changes) -> AutoencoderKL:
    torch.manual_seed(0)
    layout = LAYOUTS["as SDXL's"] | {"latent_channels": 4, "norm_num_groups": 4} | changes
    levels = len(layout["block_out_channels"])
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        **layout,
    ).eval()
    for parameter in vae.parameters():  # normalisations start as the identity, which would hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    vae.decoder.conv_out.weight.data *= 0.05  # most values inside [−1, 1]
    return vae


@pytest.fixture(autouse=True)
def thin_strips(monkeypatch):
    """Many strips even of a small picture."""
    monkeypatch.setattr(module, "_STRIP_ON_CPU", 16 * 1024)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_decode_is_the_untiled_one_in_float64(layout):
    vae = autoencoder(**layout).double()
    for shape in ((1, 16, 16), (2, 13, 7), (1, 2, 1), (1, 1, 40)):
        latents = torch.randn(shape[0], vae.config.latent_channels, *shape[1:], dtype=torch.float64)
        with torch.inference_mode():
            whole = vae.decode(latents).sample.clamp(-1, 1)
        torch.testing.assert_close(redilate.decode(vae, latents, scaled=False), whole, rtol=0, atol=1e-11)
        assert (whole.abs() < 1).float().mean() > 0.5


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_encode_is_the_untiled_one_in_float64_at_any_size(layout):
    vae = autoencoder(**layout).double()
    for height, width in ((64, 64), (75, 41), (16, 129)):
        image = torch.rand(2, 3, height, width, dtype=torch.float64) * 2 - 1
        with torch.inference_mode():
            whole = vae.encode(image).latent_dist
        torch.testing.assert_close(
            redilate.encode(vae, image, scaled=False), whole.mode(), rtol=0, atol=1e-11
        )
        both = module.posterior_of(vae, image)
        torch.testing.assert_close(both, whole.parameters, rtol=0, atol=1e-11)


def test_float32_is_within_rounding_and_bfloat16_as_near_to_the_truth_as_the_untiled_one():
    vae, latents = autoencoder(), torch.randn(1, 4, 24, 24)
    with torch.inference_mode():
        truth = copy.deepcopy(vae).double().decode(latents.double()).sample.clamp(-1, 1)
        assert (redilate.decode(vae, latents, scaled=False) - truth).abs().max() < 1e-5
        half = vae.bfloat16()
        whole = half.decode(latents.bfloat16()).sample.clamp(-1, 1)
    ours = redilate.decode(half, latents, scaled=False)
    assert ours.dtype is torch.bfloat16
    assert (ours - truth).abs().mean() < 1.2 * (whole - truth).abs().mean()


def test_a_float16_autoencoder_that_overflows_is_decoded_in_float32_and_not_changed():
    vae, latents = autoencoder(force_upcast=True).half(), torch.randn(1, 4, 8, 8)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    ours = redilate.decode(vae, latents.half(), scaled=False)
    with torch.inference_mode():
        whole = copy.deepcopy(vae).float().decode(latents.half().float()).sample.clamp(-1, 1)
    assert ours.dtype is torch.float32 and (ours - whole).abs().max() < 1e-5
    assert vae.dtype is torch.float16
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        {"scaling_factor": 0.2},
        {"scaling_factor": 0.2, "shift_factor": 0.1},
        {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.0, 2.0, 0.5, 1.5], "scaling_factor": 0.5},
    ],
)
def test_scaled_latents_go_out_and_back(config):
    vae = autoencoder(**config).double()
    latents = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(module.rescale(vae, module.unscale(vae, latents)), latents)
    assert torch.equal(
        redilate.decode(vae, latents), redilate.decode(vae, module.unscale(vae, latents), scaled=False)
    )


def test_scaled_latents_are_what_a_pipeline_returns():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    pipe.vae.register_to_config(scaling_factor=0.13, latents_mean=[0.1] * 4, latents_std=[1.2] * 4)

    def draw(kind):
        return pipe(
            "a", num_inference_steps=1, generator=torch.Generator().manual_seed(1), output_type=kind
        ).images

    ours = redilate.decode(pipe, draw("latent"))
    torch.testing.assert_close(ours, draw("pt") * 2 - 1, rtol=0, atol=1e-5)


def test_progress_ends_at_all_and_never_goes_back():
    seen = []
    redilate.decode(
        autoencoder(), torch.randn(2, 4, 9, 9), on_progress=lambda done, total: seen.append((done, total))
    )
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1 and done[-1] == totals[0] and list(done) == sorted(done) and len(done) > 50


def test_activations_may_wait_elsewhere():
    vae, latents = autoencoder(), torch.randn(1, 4, 9, 9)
    assert torch.equal(redilate.decode(vae, latents, storage="cpu"), redilate.decode(vae, latents))


def test_weights_that_are_there_in_a_call_only_are_found():
    from accelerate import cpu_offload

    vae, latents = autoencoder(), torch.randn(1, 4, 9, 9)
    whole = redilate.decode(vae, latents)
    cpu_offload(vae, execution_device=torch.device("cpu"))
    assert vae.decoder.conv_in.weight.device.type == "meta"
    assert torch.equal(redilate.decode(vae, latents), whole)
    assert vae.decoder.conv_in.weight.device.type == "meta"


def tiny_autoencoder():
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), scaling_factor=0.5, shift_factor=0.1,
    ).eval()  # fmt: skip


def test_a_tiny_autoencoder_previews_and_encodes():
    torch.manual_seed(0)
    vae = tiny_autoencoder()
    latents, image = torch.randn(1, 4, 8, 8), torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.inference_mode():
        plain, found = vae.decode(latents).sample.clamp(-1, 1), vae.encode(image).latents
    assert torch.equal(redilate.decode(vae, latents, scaled=False), plain)
    assert torch.equal(redilate.encode(vae, image, scaled=False), found)
    torch.testing.assert_close(
        redilate.decode(vae, redilate.encode(vae, image)), redilate.decode(vae, found, scaled=False)
    )
    with pytest.raises(RedilateError, match=r"a picture of shape \(1, 4, 8, 8\)"):
        redilate.encode(vae, latents)


def test_a_pipeline_or_its_autoencoder_is_taken_and_latents_go_out_and_back():
    pipe = tiny_sdxl()
    image = torch.rand(1, 3, 24, 40) * 2 - 1
    latents = redilate.encode(pipe, image)
    assert torch.equal(latents, redilate.encode(pipe.vae, image))
    assert torch.equal(latents, module.rescale(pipe.vae, redilate.encode(pipe, image, scaled=False)))
    assert torch.equal(redilate.decode(pipe, latents), redilate.decode(pipe.vae, latents))
    pipe.vae = None
    with pytest.raises(RedilateError, match="StableDiffusionXLPipeline has no vae"):
        redilate.decode(pipe, latents)
    with pytest.raises(RedilateError, match="StableDiffusionXLPipeline has no vae"):
        redilate.encode(pipe, image)


class Elsewhere(torch.nn.Module):
    """An autoencoder's weights on a device that this machine may not have."""

    def __init__(self, device, hook=None):
        super().__init__()
        self.device, self._hf_hook = torch.device(device), hook


def test_work_is_done_where_the_autoencoder_computes_and_on_the_cpu_only_if_both_are_there():
    here = torch.empty(1)
    hook = SimpleNamespace(execution_device=1)
    assert computing_device(Elsewhere("cuda:0"), here) == torch.device("cuda:0")
    assert computing_device(Elsewhere("cpu"), torch.empty(1, device="meta")) == torch.device("meta")
    assert computing_device(Elsewhere("cpu"), here) == torch.device("cpu")
    assert computing_device(Elsewhere("cpu", hook), here) == torch.device("cuda", 1), "offload"
    assert computing_device(Elsewhere("meta", hook), here) == torch.device("cuda", 1)


def test_group_offload_says_where_it_computes():
    from diffusers.hooks import apply_group_offloading

    vae, latents = autoencoder(), torch.randn(1, 4, 9, 9)
    whole = redilate.decode(vae, latents)
    apply_group_offloading(vae, onload_device=torch.device("cuda"), offload_type="leaf_level")
    assert computing_device(vae, latents) == torch.device("cuda")
    vae = autoencoder()
    apply_group_offloading(vae, onload_device=torch.device("cpu"), offload_type="leaf_level")
    assert torch.equal(redilate.decode(vae, latents), whole)


def test_activations_wait_on_the_host_where_a_gpu_has_too_little_free(monkeypatch):
    vae, gpu, cpu = autoencoder(), torch.device("cuda"), torch.device("cpu")
    needed = module.bytes_needed(vae, 9, 9, gpu)
    for free, wanted in ((needed, None), (needed - 1, cpu)):
        monkeypatch.setattr(module, "device_bytes", lambda _, free=free: (free, 10 * free))
        assert module._limits(vae, (9, 9), gpu, None).storage == wanted
        assert (
            module._limits(vae, (9, 9), gpu, "cuda").storage == gpu
            and module._limits(vae, (9, 9), cpu, None).storage is None
        )


def test_a_film_is_refused_by_name():
    films = AutoencoderKLTemporalDecoder(block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",))
    with pytest.raises(
        RedilateError, match=r"AutoencoderKLTemporalDecoder .*: it mixes frames; its own vae.decode"
    ):
        redilate.decode(films, torch.randn(1, 2, 4, 8, 8))
    with pytest.raises(RedilateError, match=r"shape \(1, 4, 2, 8, 8\).*one frame at a time"):
        redilate.decode(autoencoder(), torch.randn(1, 4, 2, 8, 8))


def test_what_cannot_be_decoded_is_refused():
    vae = autoencoder()
    with pytest.raises(RedilateError, match=r"shape \(1, 3, 8, 8\).*\(B, 4, height, width\)"):
        redilate.decode(vae, torch.randn(1, 3, 8, 8))
    with pytest.raises(RedilateError, match="shape"):
        redilate.encode(vae, torch.randn(3, 8, 8))
    with pytest.raises(RedilateError, match="Linear cannot be run in strips"):
        redilate.decode(torch.nn.Linear(2, 2), torch.randn(1, 4, 8, 8))
    with pytest.raises(RedilateError, match="latents is a list; a tensor"):
        redilate.decode(vae, [1])
    for batch, says in (
        (torch.full((1, 4, 8, 8), torch.nan), "float32 is not all finite numbers"),
        (torch.full((1, 4, 8, 8), torch.inf).half(), "float16 is not all finite numbers"),
        (torch.empty(1, 4, 8, 8, device="meta"), "the device 'meta', which holds no values"),
    ):
        for one in (vae, tiny_autoencoder()):
            with pytest.raises(RedilateError, match=says):
                redilate.decode(one, batch)
            with pytest.raises(RedilateError, match=says):
                redilate.encode(one, batch[:, :3])
    with pytest.raises(RedilateError, match="the autoencoder is on the device 'meta'"):
        redilate.decode(autoencoder().to("meta"), torch.randn(1, 4, 8, 8))
    vae.decoder.up_blocks[0].resnets[0].conv1.padding_mode = "circular"
    with pytest.raises(RedilateError, match="padding is 'circular'"):
        redilate.decode(vae, torch.randn(1, 4, 8, 8))


def test_of_an_enlarged_picture_the_encoder_takes_one_key_for_each_cell():
    """Where the pixels of a cell are alike that changes nothing, and elsewhere it is attention to their mean."""
    vae = autoencoder().double()
    attention = vae.encoder.mid_block.attentions[0]
    before = torch.randn(1, 32, 20, 13, dtype=torch.float64)
    alike = before.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for maps, rows in ((alike, 6), (alike + 0.3 * torch.randn_like(alike), 40)):
        with torch.inference_mode():
            found = attend(StoredStrips(maps.split(rows, 2)), attention, 26, maps.shape[2] * 26, 2)
            tokens = attention.group_norm(maps.flatten(2)).transpose(1, 2)
            cells = functional.avg_pool2d(tokens.transpose(1, 2).unflatten(2, maps.shape[2:]), 2)
            cells = cells.flatten(2).transpose(1, 2)
            scores = attention.to_q(tokens) @ attention.to_k(cells).transpose(1, 2) * attention.scale
            out = attention.to_out[0](scores.softmax(2) @ attention.to_v(cells))
            slow = out.transpose(1, 2).unflatten(2, maps.shape[2:]) + maps
            torch.testing.assert_close(torch.cat(list(found), 2), slow, rtol=0, atol=1e-11)
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.cat(list(attend(StoredStrips(alike.split(6, 2)), attention, 26, 40 * 26, 2)), 2),
            attention(alike), rtol=0, atol=1e-11,
        )  # fmt: skip
        odd = maps[:, :, :, :25].contiguous()  # no whole cells: exact
        torch.testing.assert_close(
            torch.cat(list(attend(StoredStrips(odd.split(6, 2)), attention, 25, 40 * 25, 2)), 2),
            attention(odd), rtol=0, atol=1e-11,
        )  # fmt: skip


def test_the_latents_of_an_enlarged_picture_hardly_change():
    pipe = redilate.load()
    small = redilate.generate(pipe, "a red apple", steps=4).images[0]
    large = pipe.image_processor.preprocess(small.resize((512, 512), Image.Resampling.LANCZOS))
    exact, pooled = (module.posterior_of(pipe.vae, large, pool=pool)[:, :4] for pool in (1, 2))
    assert 0 < (pooled - exact).std() < 0.005 * exact.std()
