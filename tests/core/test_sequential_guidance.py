"""Sequential guidance: the same outputs from half the batch, with re-dilation and ND-CFG and without, and no trace."""

import pytest
import torch

import redilate
from redilate import NoiseDamping, Plan
from redilate.core.sequential_guidance import Sequential
from redilate.plans.plan import convolutions
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    pipe = request.param()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe):
    return pipe(
        "a red apple", width=384, height=256, num_inference_steps=2, guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3), output_type="latent",
    ).images  # fmt: skip


@pytest.mark.parametrize("damped", [False, True], ids=["re-dilated", "with ND-CFG"])
def test_it_equals_the_whole_batch_and_never_sees_more_than_one_sample(pipe, damped):
    names = list(convolutions(pipe.unet))
    damping = NoiseDamping(dilation={names[0]: (2, 2)}, until=0.2) if damped else None
    plan = Plan(dilation=dict.fromkeys(names, (1, 2)), until=0.2, noise_damping=damping)
    batches = []
    inner = pipe.unet.conv_in.register_forward_hook(
        lambda _module, args, _out: batches.append(args[0].shape[0])
    )
    with redilate.apply(pipe, plan):
        whole = draw(pipe)
        assert batches == ([2, 1, 2] if damped else [2, 2])  # the second step is below the noise level
        batches.clear()
        with Sequential(pipe.unet):
            torch.testing.assert_close(draw(pipe), whole, rtol=1e-4, atol=1e-4)
    inner.remove()
    assert batches == ([1] * 5 if damped else [1] * 4)


def test_it_leaves_no_trace_also_after_an_exception(pipe):
    def stop(*_):
        raise KeyboardInterrupt

    before = draw(pipe)
    hook = pipe.unet.mid_block.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt), Sequential(pipe.unet) as sequential:
        draw(pipe)
    hook.remove()
    assert sequential._rest is None and not pipe.unet._forward_hooks and not pipe.unet._forward_pre_hooks
    assert torch.equal(draw(pipe), before)
