"""Attention scaling against the paper's softmax, written out."""

import math

import pytest
import torch

from redilate import RedilateError
from redilate.rivals.attention_scaling import attention_scaling, scale_of_query, self_attentions
from redilate.rivals.fouriscale import fouriscale
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import predict


def test_the_scale_is_one_at_the_trained_number_of_tokens_and_grows_with_the_logarithm():
    assert scale_of_query(4096, 4096) == 1
    assert scale_of_query(64**2, 64) == pytest.approx(math.sqrt(2))
    assert scale_of_query(8, 64) == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_every_self_attention_is_a_softmax_with_the_papers_factor(make):
    pipe, seen = make(), {}
    attentions = self_attentions(pipe.unet)

    def keep(module, args, output):
        seen[module] = (args[0], output)

    with attention_scaling(pipe, native_size=64):
        hooks = [module.register_forward_hook(keep) for module in attentions.values()]
        predict(pipe, 16, 8)  # twice as many tokens as in training, at every level
        for hook in hooks:
            hook.remove()
    assert len(seen) == len(attentions) > 3
    for attention, (features, output) in seen.items():
        tokens, width = features.shape[1], attention.inner_dim // attention.heads
        factor = math.sqrt(math.log(tokens, tokens / 2) / width) if tokens > 2 else math.sqrt(1 / width)
        expected = []
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            query = features[0].double() @ attention.to_q.weight[part].double().T
            key = features[0].double() @ attention.to_k.weight[part].double().T
            value = features[0].double() @ attention.to_v.weight[part].double().T
            weights = torch.stack([torch.exp(factor * (key @ one)) for one in query])
            expected.append(weights / weights.sum(1, keepdim=True) @ value)
        joined = torch.cat(expected, dim=1) @ attention.to_out[0].weight.double().T
        joined += attention.to_out[0].bias.double()
        torch.testing.assert_close(output[0].double(), joined, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", [attention_scaling, fouriscale])
def test_fused_projections_are_refused(method):
    pipe = tiny_sdxl()
    pipe.unet.fuse_qkv_projections()
    with pytest.raises(RedilateError, match="unfuse_qkv_projections"), method(pipe):
        pass
