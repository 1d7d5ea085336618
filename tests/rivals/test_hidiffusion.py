"""HiDiffusion: what the deep blocks see, and what the outermost attention sees."""

import pytest
import torch

from redilate import RedilateError
from redilate.core.windows import from_windows, into_windows, lay_out
from redilate.rivals.attention_scaling import self_attentions
from redilate.rivals.hidiffusion import hidiffusion, reductions, window_of
from tests.models import tiny_sd15, tiny_sdxl
from tests.rivals.calls import predict


def test_reductions_follow_the_papers_switches():
    assert reductions((2, 2), 0.61, 4) == [(2, 2), (1, 1), (1, 1)]
    assert reductions((2, 2), 0.6, 4) == [(1, 1)] * 3
    assert reductions((1, 3), 0.9, 3) == [(1, 3), (1, 1)]
    assert reductions((4, 4), 0.71, 3) == [(2, 2), (2, 2)]
    assert reductions((4, 4), 0.7, 3) == [(2, 2), (1, 1)]
    assert reductions((4, 4), 0.3, 3) == [(1, 1), (1, 1)]
    assert reductions((1, 1), 1.0, 3) == [(1, 1), (1, 1)]
    assert reductions((2, 2), 0.5, 4, (0.6, 0.0))[0] == (2, 2)


def size_at_the_middle(pipe, height, width, timestep=901):
    """The size of the features that the mid block gets, and the finite prediction's."""
    seen = []
    hook = pipe.unet.mid_block.register_forward_pre_hook(
        lambda _, args: seen.append(tuple(args[0].shape[-2:]))
    )
    prediction = predict(pipe, height, width, timestep=timestep)
    hook.remove()
    assert prediction.shape[-2:] == (height, width) and torch.isfinite(prediction).all()
    return seen[0]


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl])
def test_at_high_noise_the_deep_blocks_see_the_trained_size_and_below_t1_what_there_is(make):
    pipe = make()
    trained = size_at_the_middle(pipe, 16, 16)
    with hidiffusion(pipe, native_size=128):
        for size in ((32, 32), (16, 32), (48, 16), (64, 64)):
            assert size_at_the_middle(pipe, *size) == trained
        assert size_at_the_middle(pipe, 64, 64, timestep=501)[0] == 2 * trained[0]
        assert size_at_the_middle(pipe, 32, 32, timestep=501)[0] == 2 * trained[0]


@pytest.mark.parametrize(("make", "level"), [(tiny_sd15, 0), (tiny_sdxl, 1)])
def test_the_outermost_attention_is_what_each_window_gives_alone(make, level):
    pipe, seen = make(), {}
    before, behind = [], []
    block = pipe.unet.down_blocks[level].attentions[0].transformer_blocks[0]
    hooks = [
        block.norm1.register_forward_hook(lambda _, __, output: before.append(output)),
        block.norm2.register_forward_pre_hook(lambda _, args: behind.append(args[0])),
        block.register_forward_pre_hook(lambda _, args, __: seen.update(residual=args[0]), with_kwargs=True),
    ]
    with hidiffusion(pipe, seed=4, native_size=64):
        predict(
            pipe, 16, 16, timestep=401
        )  # below T1: at higher noise level 1 sees its trained size, one window
    for hook in hooks:
        hook.remove()
    side = 16 // 2**level
    matches = 0
    for share in (0, 0.25, 0.5, 0.75):
        layout = lay_out((side, side), (side // 2, side // 2), (share, share))
        windows = into_windows(before[0], layout)
        assert windows.shape[:2] == (4, side * side // 4)
        alone = torch.cat([block.attn1(one[None]) for one in windows])
        expected = from_windows(alone, layout) + seen["residual"]
        matches += torch.allclose(behind[0], expected, atol=1e-5)
    assert matches == 1
    assert not torch.allclose(behind[0], block.attn1(before[0]) + seen["residual"], atol=1e-5)


def test_shifts_change_from_call_to_call_and_a_seed_repeats_them():
    pipe = tiny_sd15()

    def several(seed):
        with hidiffusion(pipe, seed=seed, native_size=64):
            return [predict(pipe, 16, 16, timestep=401) for _ in range(6)]

    first, again = several(0), several(0)
    assert all(map(torch.equal, first, again))
    assert any(not torch.equal(first[0], other) for other in first[1:])


def test_only_the_outermost_level_is_cut_into_windows():
    pipe, tokens = tiny_sd15(), {}

    def count(name):
        def keep(_, args):
            tokens.setdefault(name, args[0].shape[1])

        return keep

    with hidiffusion(pipe, native_size=64):
        for name, module in self_attentions(pipe.unet).items():
            module.to_q.register_forward_pre_hook(count(name.split(".attentions")[0]))
        predict(pipe, 16, 16, timestep=401)
    assert tokens == {
        "down_blocks.0": 8 * 8,  # a window of 16 × 16
        "down_blocks.1": 8 * 8,
        "down_blocks.2": 4 * 4,
        "mid_block": 2 * 2,
        "up_blocks.1": 4 * 4,
        "up_blocks.2": 8 * 8,
        "up_blocks.3": 8 * 8,
    }


def test_an_axis_that_is_odd_or_not_longer_than_in_training_is_one_window():
    assert window_of((16, 24), (8, 8)) == (8, 12)
    assert window_of((8, 15), (8, 8)) == (8, 15)


def test_a_network_without_convolutional_samplers_is_refused():
    pipe = tiny_sdxl()
    pipe.unet.up_blocks[0].upsamplers = None
    with pytest.raises(RedilateError, match="does not sample with convolutions"), hidiffusion(pipe):
        pass
