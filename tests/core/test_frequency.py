"""Low passes: what they keep, what they take away, and their neutral settings."""

import torch

from redilate.core.schedule import low_pass, with_low_frequencies_of


def waves(period: float, side: int = 64) -> torch.Tensor:
    """(1, 1, side, side): one cosine along the width."""
    along = torch.cos(2 * torch.pi * (torch.arange(side) + 0.5) / period)
    return along.expand(1, 1, side, side).clone()


def test_a_constant_is_kept_and_fast_waves_are_not():
    assert torch.allclose(low_pass(torch.full((1, 2, 20, 30), 0.7), 4), torch.tensor(0.7))
    assert low_pass(waves(4), 4).abs().max() < 1e-6, "a whole wave in each cell: its mean is 0"


def test_slow_waves_pass_nearly_whole():
    slow = waves(64)
    assert (low_pass(slow, 4) - slow).abs().mean() < 0.02


def test_a_period_of_one_and_a_weight_of_zero_are_the_identity():
    values, other = torch.randn(2, 1, 3, 9, 7).unbind(0)
    assert low_pass(values, 1) is values
    assert with_low_frequencies_of(values, other, 4, 0.0) is values


def test_the_whole_weight_exchanges_the_mean_and_keeps_the_detail():
    values, other = waves(4), waves(4) + 3
    mixed = with_low_frequencies_of(values, other, 8, 1.0)
    assert torch.allclose(mixed, values + 3, atol=1e-5)


def test_half_the_weight_is_half_way():
    values, other = torch.randn(2, 1, 3, 16, 24).unbind(0)
    half = with_low_frequencies_of(values, other, 4, 0.5)
    whole = with_low_frequencies_of(values, other, 4, 1.0)
    assert torch.allclose(half, (values + whole) / 2, atol=1e-6)


def test_the_type_and_any_size_are_kept():
    values = torch.randn(1, 4, 5, 3, dtype=torch.bfloat16)
    assert low_pass(values, 8).dtype == torch.bfloat16 and low_pass(values, 8).shape == values.shape
