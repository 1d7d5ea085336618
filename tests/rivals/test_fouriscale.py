"""FouriScale: the filtered and dilated convolutions, and the guiding estimate."""

import pytest
import torch
import torch.nn.functional as F

from redilate import RedilateError
from redilate.core.band_limit import low_pass
from redilate.plans.plan import convolutions
from redilate.rivals.attention_scaling import self_attentions
from redilate.rivals.fouriscale import dilated_names, dilation_at, floor_of, fouriscale
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import conditions, noise, predict


def test_the_dilation_holds_then_falls_to_one_at_the_published_steps():
    assert [dilation_at(2, level) for level in (1.0, 0.8, 0.6, 0.4, 0.1)] == [2, 2, pytest.approx(1.5), 1, 1]
    assert [dilation_at(4, level) for level in (0.6, 0.45, 0.3)] == [4, pytest.approx(2.5), 1]
    assert dilation_at(1, 1.0) == 1
    assert [dilation_at(2, level, (0.5, 0.1)) for level in (0.6, 0.3, 0.1)] == [2, pytest.approx(1.5), 1]
    assert [dilation_at(2, level, (0.0, 0.0)) for level in (1.0, 0.01)] == [2, 2]


def test_the_dilated_convolutions_are_the_published_ones():
    names = dilated_names(list(convolutions(tiny_sd15().unet)))
    blocks = {name.split(".resnets")[0].split(".downs")[0].split(".ups")[0] for name in names}
    assert blocks == {
        "down_blocks.2",
        "down_blocks.3",
        "mid_block",
        "up_blocks.0",
        "up_blocks.1",
        "up_blocks.2",
    }
    names = dilated_names(list(convolutions(tiny_sdxl().unet)))
    blocks = {name.split(".resnets")[0].split(".downs")[0].split(".ups")[0] for name in names}
    assert blocks == {"down_blocks.2", "mid_block", "up_blocks.0", "up_blocks.1"}


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_a_convolution_is_the_dilated_one_of_features_filtered_strongly_and_gently(make):
    pipe, seen = make(), {}
    conv = pipe.unet.mid_block.resnets[0].conv1
    with fouriscale(pipe, native_size=64):
        # What stands in front of the method's own hook sees the features as they come.
        first = conv.register_forward_pre_hook(lambda _, args: seen.update(given=args[0]), prepend=True)
        last = conv.register_forward_hook(lambda _, __, output: seen.update(made=output))
        predict(pipe, 16, 8, batch=2)
        first.remove()
        last.remove()
    given, side = seen["given"], (seen["given"].shape[-2], seen["given"].shape[-2])  # 16×8 is padded to 16×16
    strong, gentle = given.chunk(2)  # without guidance [c, ĉ], each of two pictures
    kept = floor_of(pipe.unet)
    for part, soft, made in ((strong, False, seen["made"][:2]), (gentle, True, seen["made"][2:])):
        filtered = low_pass(part, (2.0, 2.0), side, gentle=soft, floor=kept)
        torch.testing.assert_close(made, F.conv2d(filtered, conv.weight, conv.bias, padding=2, dilation=2))


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_the_guiding_estimate_takes_queries_and_keys_from_the_strong_one(make):
    pipe, parts = make(), []
    with fouriscale(pipe, native_size=64):
        for attention in self_attentions(pipe.unet).values():
            for projection in (attention.to_q, attention.to_k):
                projection.register_forward_hook(lambda _, __, output: parts.append(output.chunk(2)))
        predict(pipe, 16, 16)
    assert len(parts) > 6 and all(torch.equal(strong, gentle) for strong, gentle in parts)


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_under_guidance_the_pipeline_gets_the_empty_and_the_guiding_estimate(make):
    pipe, batches, given = make(), [], []
    pipe.set_progress_bar_config(disable=True)
    unet = pipe.unet
    with fouriscale(pipe, native_size=64):
        hooks = [
            unet.conv_in.register_forward_pre_hook(lambda _, args: batches.append(args[0])),
            unet.conv_out.register_forward_hook(lambda _, __, output: given.append(output)),
        ]
        out = []
        hooks.append(unet.register_forward_hook(lambda _, __, output: out.append(output[0])))
        pipe("apple", width=128, height=128, num_inference_steps=10, guidance_scale=3.0, output_type="latent")
        for hook in hooks:
            hook.remove()
    # Ten leading steps, 901 to 1: at work above noise level 0.4, plain below.
    assert [len(batch) for batch in batches] == [3] * 6 + [2] * 4
    assert all(torch.equal(batch[0], part) for batch in batches for part in batch)
    for whole, seen in zip(given[:6], out, strict=False):
        assert torch.equal(seen, whole[[0, 2]])
    assert not torch.equal(given[0][1], given[0][2])


def test_a_floor_that_is_no_share_is_refused():
    with pytest.raises(RedilateError, match=r"share in \[0, 1\]"), fouriscale(tiny_sdxl(), floor=2.0):
        pass


def test_other_tensors_of_a_call_keep_their_size():
    pipe = tiny_sdxl()
    pipe.scheduler.set_timesteps(10)
    with fouriscale(pipe, native_size=64):
        whole = pipe.unet(noise(2, 16, 16), torch.tensor([901, 901]), **conditions(pipe, 2)).sample
        torch.testing.assert_close(whole, predict(pipe, 16, 16, batch=2))
