"""The local Wiener filter, against its equation, on noise and on detail."""

import pytest
import torch

from redilate.core.schedule import shrink_noise


def slowly(values, floor):
    """The same, a pixel at a time."""
    result = torch.zeros_like(values)
    height, width = values.shape[-2:]
    for y in range(height):
        for x in range(width):
            around = values[:, :, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            for sample in range(len(values)):
                power = around[sample].square().mean()
                kept = max(0.0, 1 - floor**2 / float(power)) if power > 0 else 0.0
                result[sample, :, y, x] = values[sample, :, y, x] * kept
    return result


@pytest.mark.parametrize("shape", [(1, 4, 9, 7), (2, 1, 3, 12), (1, 3, 1, 1)])
def test_it_is_the_equation_at_every_pixel(shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[..., 0] = 0
    torch.testing.assert_close(shrink_noise(values, 0.7), slowly(values, 0.7), rtol=1e-5, atol=1e-6)


def test_noise_at_the_floor_goes_and_an_edge_stays():
    dice = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, 4, 64, 64, generator=dice)
    edge = torch.zeros(1, 4, 64, 64)
    edge[..., 31:33] = 1.0
    shrunk = shrink_noise(edge + noise, 0.1)
    plain = shrunk[..., :24]
    assert plain.std() < 0.2 * noise.std()
    assert (shrunk - edge)[..., 31:33].abs().mean() < 0.1, "ten times the floor: nearly untouched"


def test_a_floor_of_zero_is_the_identity_and_zeros_stay():
    values = torch.randn(1, 2, 8, 8)
    assert shrink_noise(values, 0) is values
    assert torch.equal(shrink_noise(torch.zeros(1, 2, 8, 8), 0.1), torch.zeros(1, 2, 8, 8))


def test_it_keeps_the_type():
    assert shrink_noise(torch.randn(1, 2, 8, 8).bfloat16(), 0.1).dtype == torch.bfloat16
