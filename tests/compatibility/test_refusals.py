"""What can't work says so by name, before anything is touched, and again when it arrives later."""

import diffusers
import pytest
import torch
from diffusers.hooks import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast
from peft import LoHaConfig, LoKrConfig, LoraConfig
from torch import nn

import redilate
from redilate import Plan, RedilateError
from redilate.core.patch import find_patch
from redilate.plans.plan import convolutions
from tests.compatibility.samples import quiet
from tests.models import tiny_sd15


def row(what, how):
    return pytest.mark.compatibility("refused", what, how)


@pytest.fixture
def pipe():
    return quiet(tiny_sd15())


def draw(pipe):
    arguments = {"width": 384, "height": 256, "num_inference_steps": 1, "output_type": "latent"}
    return pipe("a red apple", generator=torch.Generator().manual_seed(3), **arguments).images


def refused(pipe, says):
    """Refused at once, with nothing left on the U-Net; and inside the next call, if `apply` came first."""
    with pytest.raises(RedilateError, match=says):
        redilate.apply(pipe)
    assert find_patch(pipe.unet) is None
    assert not any("Redilated" in type(module).__name__ for module in pipe.unet.modules())


def transformer_pipelines():
    flux = diffusers.FluxTransformer2DModel(
        num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=1, in_channels=4,
        joint_attention_dim=8, pooled_projection_dim=8, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    sd3 = diffusers.SD3Transformer2DModel(
        sample_size=8, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=1,
        joint_attention_dim=8, caption_projection_dim=8, pooled_projection_dim=8,
    )  # fmt: skip
    pixart = diffusers.PixArtTransformer2DModel(
        sample_size=8, num_layers=1, attention_head_dim=8, num_attention_heads=1, cross_attention_dim=8,
        caption_channels=8,
    )  # fmt: skip
    text = {"text_encoder": None, "tokenizer": None}
    two = text | {"text_encoder_2": None, "tokenizer_2": None}
    three = two | {"text_encoder_3": None, "tokenizer_3": None}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    yield diffusers.FluxPipeline(scheduler=scheduler, vae=None, transformer=flux, **two)
    yield diffusers.StableDiffusion3Pipeline(scheduler=scheduler, vae=None, transformer=sd3, **three)
    yield diffusers.PixArtSigmaPipeline(
        scheduler=diffusers.DDIMScheduler(), vae=None, transformer=pixart, **text
    )


@row("Transformers", "Flux, Stable Diffusion 3, PixArt: no convolutions")
def test_transformers_are_refused_by_the_pipelines_name():
    for pipe in transformer_pipelines():
        for whole in (pipe, pipe.transformer):
            with pytest.raises(
                RedilateError, match=rf"{type(whole).__name__} has no diffusion U-Net.*supported"
            ):
                redilate.apply(whole)


@row("DoRA on convolutions", "unless merged; on attention it works")
def test_dora_on_convolutions_is_refused_and_works_on_attention_or_merged(pipe):
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"], use_dora=True), adapter_name="attention")
    redilate.apply(pipe)
    draw(pipe)
    pipe.unet.add_adapter(
        LoraConfig(r=2, target_modules=["conv1"], use_dora=True), adapter_name="convolutions"
    )
    with pytest.raises(RedilateError, match=r"resnets\.0\.conv1 cannot be re-dilated: a DoRA"):
        draw(pipe)
    redilate.remove(pipe)
    refused(pipe, "a DoRA adapter")
    pipe.fuse_lora(components=["unet"])
    with redilate.apply(pipe):
        assert draw(pipe).isfinite().all()


@row("LoHa and LoKr on convolutions", "unless merged; so any adapter that computes for itself")
@pytest.mark.parametrize("kind", [LoHaConfig, LoKrConfig])
def test_adapters_that_compute_for_themselves_are_refused(pipe, kind):
    pipe.unet.add_adapter(kind(r=2, target_modules=["conv1"]))
    refused(pipe, r"conv1 cannot be re-dilated: the adapter peft\.tuners\.lo(ha|kr)\S+ computes")


def exchange_one(pipe, conv):
    pipe.unet.mid_block.resnets[0].conv1 = conv


@row("Quantised convolutions", "torchao's and torch's own, by weight type and by module class")
def test_a_quantised_module_is_refused(pipe):
    exchange_one(pipe, torch.ao.nn.quantized.Conv2d(16, 16, 3, padding=1))
    refused(pipe, r"mid_block\.resnets\.0\.conv1 cannot be re-dilated: it is a torch\.\S+Conv2d, a quantised")


class OwnForward(nn.Conv2d):
    def forward(self, input):
        return torch.nn.functional.conv2d(input, self.weight, self.bias, padding=1)


def test_a_convolution_that_computes_for_itself_is_refused(pipe):
    exchange_one(pipe, OwnForward(16, 16, 3, padding=1))
    refused(pipe, r"it is a \S+OwnForward, which computes for itself")


@row("Caches that replace forwards", "DeepCache and its kin")
def test_a_replaced_forward_is_refused_also_after_apply(pipe):
    block = pipe.unet.down_blocks[1]
    redilate.apply(pipe)
    draw(pipe)
    kept = block.forward
    block.forward = lambda *args, **kwargs: kept(*args, **kwargs)
    with pytest.raises(
        RedilateError, match=r"down_blocks\.1 cannot be re-dilated: its forward has been replaced"
    ):
        draw(pipe)
    redilate.remove(pipe)
    refused(pipe, "DeepCache")
    del block.forward
    redilate.apply(pipe)


@row(
    "diffusers' own caches",
    "run with pyramid attention broadcast; known by the files that their hooks come from",
)
def test_diffusers_caches_are_refused(pipe):
    apply_pyramid_attention_broadcast(
        pipe.unet,
        PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_block_identifiers=("transformer_blocks",),
            current_timestep_callback=lambda: 500,
        ),
    )
    refused(pipe, "the cache 'pyramid_attention_broadcast' is at work")


def test_a_network_without_convolutions_is_refused(pipe):
    for name in convolutions(pipe.unet):
        parent, _, child = name.rpartition(".")
        setattr(pipe.unet.get_submodule(parent), child, nn.Identity())
    refused(pipe, "no spatial convolutions")


@row("Sizes that latents cannot have", "with the nearest that work")
@pytest.mark.parametrize("size", [(500, 512), (0, 256), (-8, 256), (256, 257)])
def test_a_size_that_latents_cannot_have_is_refused_with_the_nearest_that_work(pipe, size):
    with pytest.raises(RedilateError, match=r"multiples of 8, such as \d+x\d+"):
        redilate.plan_for(pipe, width=size[0], height=size[1])


@pytest.mark.parametrize("native", [0, (256, -1)])
def test_a_native_size_that_is_none_is_refused(pipe, native):
    with pytest.raises(RedilateError, match="native_size is a side"):
        redilate.apply(pipe, native_size=native)


def test_an_unknown_native_size_must_be_named(pipe):
    pipe.unet.register_to_config(sample_size=None)
    with pytest.raises(RedilateError, match="pass native_size="):
        redilate.apply(pipe)
    redilate.apply(pipe, Plan())
    redilate.remove(pipe)
    assert redilate.plan_for(pipe, width=512, height=256, native_size=256).dilation
