"""Statistics, cutting, and no tensor that an index of 32 bits could not address."""

import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import redilate
from redilate.decoding import decode
from redilate.decoding.strips import ChannelStatistics, StoredStrips, recut, with_neighbours


def test_statistics_are_groupnorms_whatever_the_strips_and_far_from_zero():
    picture = torch.randn(1, 12, 33, 17, dtype=torch.float64) * 3 + 1000
    for sizes in ([33], [1] * 33, [4, 13, 16]):
        gathered = ChannelStatistics()
        for strip in picture.float().split(sizes, 2):
            gathered.add(strip)
        mean, variance = gathered.grouped(4)
        grouped = picture.float().double().reshape(4, -1)
        torch.testing.assert_close(mean, grouped.mean(1), rtol=1e-7, atol=0)
        torch.testing.assert_close(variance, grouped.var(1, correction=0), rtol=1e-4, atol=0)


def test_recut_keeps_every_row():
    picture = torch.arange(23.0).reshape(1, 1, 23, 1)
    for rows in (1, 2, 5, 23, 40):
        cut = list(recut(picture.split([3, 1, 10, 9], 2), rows))
        assert [strip.shape[2] for strip in cut[:-1]] == [rows] * (len(cut) - 1)
        assert torch.equal(torch.cat(cut, 2), picture)


def test_neighbours_are_the_true_ones_and_zeros_beyond():
    picture = torch.arange(1.0, 8.0).reshape(1, 1, 7, 1)
    padded = nn.functional.pad(picture, (0, 0, 1, 1))
    start = 0
    for rows in with_neighbours(picture.split([2, 1, 4], 2)):
        assert torch.equal(rows, padded[:, :, start : start + rows.shape[2]])
        start += rows.shape[2] - 2
    assert start == 7


def test_kept_frees_what_is_read_for_the_last_time():
    kept = StoredStrips(torch.randn(1, 1, 6, 2).split(2, 2))
    assert len(list(kept.read())) == 3 == len(list(kept.read()))
    drained = kept.drain()
    next(drained)
    assert len(list(kept.read())) == 2


class _Largest(TorchDispatchMode):
    """The most elements that any tensor made under it has."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [tensor.numel() for tensor in tree_iter(out) if isinstance(tensor, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


def test_full_size_sdxl_past_two_to_the_31_makes_no_tensor_that_large(monkeypatch):
    # 6144² × 128 channels are 4.8 · 10⁹ elements, 256 channels twice that. On tensors without data: no memory; and
    # in eight times thicker strips than on a GPU: less time.
    monkeypatch.setattr(decode, "_STRIP_ELSEWHERE", 512 * 2**20)
    monkeypatch.setattr(decode, "_check_given", lambda *_: None)  # it refuses tensors without data
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        latents = torch.empty(1, 4, 768, 768)
    assert 6144 * 6144 * 128 > 2**31
    with _Largest() as made:
        assert redilate.decode(vae, latents).shape == (1, 3, 6144, 6144)
    assert made.elements < 2**31 // 4
