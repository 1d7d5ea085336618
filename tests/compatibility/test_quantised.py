"""Quantised networks, by the libraries themselves: linear layers go on working, convolutions are refused by name."""

import bitsandbytes
import pytest
import torch
from torch import nn

import redilate
from redilate import RedilateError
from redilate.core.patch import find_patch
from redilate.plans.plan import convolutions
from tests.compatibility.reference import Recorder, damped_plan
from tests.compatibility.samples import quiet
from tests.compatibility.uses import draw, row
from tests.models import tiny_sdxl

# The extra `dev` has it; beside the oldest diffusers it cannot be (`scripts/versions.sh`).
quantization = pytest.importorskip("torchao.quantization")


@pytest.fixture
def pipe():
    return quiet(tiny_sdxl())


def torchao_int8(unet):
    return _quantise_linear(unet, quantization.Int8WeightOnlyConfig())


def torchao_float8(unet):
    return _quantise_linear(unet, quantization.Float8WeightOnlyConfig())


def _quantise_linear(unet, config):
    quantization.quantize_(unet, config)
    return [module for module in unet.modules() if isinstance(module, nn.Linear)]


def bitsandbytes_int8(unet):
    return _exchange_linear(
        unet, lambda old: bitsandbytes.nn.Linear8bitLt(*_shape(old), has_fp16_weights=False, threshold=6.0)
    )


def bitsandbytes_nf4(unet):
    return _exchange_linear(
        unet, lambda old: bitsandbytes.nn.LinearNF4(*_shape(old), compute_dtype=torch.float32)
    )


def _shape(linear):
    return linear.in_features, linear.out_features, linear.bias is not None


def _exchange_linear(unet, make):
    """bitsandbytes quantises the weights when they move to a device, here from the CPU to the CPU."""
    linear = {
        name: module for name, module in unet.named_modules() if type(module) is nn.Linear and "attn" in name
    }
    for name, old in linear.items():
        new = make(old)
        new.load_state_dict(old.state_dict())
        parent, _, child = name.rpartition(".")
        setattr(unet.get_submodule(parent), child, new.to("cpu"))
    return [unet.get_submodule(name) for name in linear]


@row(
    "Quantised linear layers", "torchao (int8, float8) and bitsandbytes (int8, nf4); convolutions as they are"
)
@pytest.mark.parametrize("quantise", [torchao_int8, torchao_float8, bitsandbytes_int8, bitsandbytes_nf4])
def test_a_network_of_quantised_linear_layers_is_re_dilated(pipe, quantise):
    before = draw(pipe)
    quantised = quantise(pipe.unet)
    assert len(quantised) > 100 and {type(module.weight) for module in quantised} != {nn.Parameter}
    plain, plan = draw(pipe), damped_plan(pipe.unet)
    assert plain.isfinite().all() and not torch.equal(plain, before)
    with redilate.apply(pipe, plan.model_copy(update={"noise_damping": None})):
        watched = Recorder(pipe.unet)
        ours = draw(pipe)
        watched.stop()
    assert ours.isfinite().all() and not torch.allclose(ours, plain, atol=1e-2)
    assert torch.allclose(watched.output[0], watched.recompute(plan.dilation)[0], atol=2e-5)
    assert torch.equal(draw(pipe), plain)


@pytest.mark.compatibility(
    "refused", "Quantised convolutions", "torchao's and torch's own, by weight type and by module class"
)
@pytest.mark.parametrize("config", ["Int8WeightOnlyConfig", "Float8WeightOnlyConfig"])
def test_quantised_convolutions_are_refused_before_and_after(pipe, config):
    def quantise():
        spatial = {id(conv) for several in convolutions(pipe.unet).values() for conv in several}
        quantization.quantize_(
            pipe.unet, getattr(quantization, config)(), filter_fn=lambda module, _: id(module) in spatial
        )

    says = r"resnets\.0\.conv1 cannot be re-dilated: its weight is a torchao\.\S+Tensor, a quantised one"
    redilate.apply(pipe, damped_plan(pipe.unet))
    draw(pipe)
    quantise()
    with pytest.raises(RedilateError, match=says):
        draw(pipe)
    redilate.remove(pipe)
    with pytest.raises(RedilateError, match=says):
        redilate.apply(pipe)
    assert find_patch(pipe.unet) is None
