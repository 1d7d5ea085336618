import math

import pytest
import torch

from redilate.rivals.demofusion import blur, interleaved, put_together


@pytest.mark.parametrize(("size", "factor"), [((6, 9), 3), ((5, 7), 2), ((2, 5), 3)])
def test_dilated_sampling_takes_every_sth_pixel_and_puts_it_back(size, factor):
    latents = torch.randn(2, 4, *size)
    parts = interleaved(latents, factor)
    seen, number = torch.zeros(size), 0
    for row in range(factor):
        for column in range(factor):
            places = [
                (y, x)
                for y in range(size[0])
                for x in range(size[1])
                if (y % factor, x % factor) == (row, column)
            ]
            if not places:
                continue
            for (y, x), value in zip(places, parts[number].flatten(2).unbind(2), strict=True):
                assert torch.equal(value, latents[..., y, x])
                seen[y, x] += 1
            number += 1
    assert (seen == 1).all() and number == len(parts)
    assert torch.equal(put_together(parts, factor, size), latents)


def test_blurring_is_a_gaussian_mean_that_keeps_mean_and_deviation():
    latents = torch.randn(1, 2, 7, 5)
    soft = torch.zeros_like(latents, dtype=torch.float64)
    for channel in range(2):
        for y in range(7):
            for x in range(5):
                total = weights = 0.0
                for down in (-1, 0, 1):
                    for right in (-1, 0, 1):
                        weight = math.exp(-(down**2 + right**2) / (2 * 0.8**2))
                        near = latents[0, channel, min(max(y + down, 0), 6), min(max(x + right, 0), 4)]
                        total, weights = total + weight * float(near), weights + weight
                soft[0, channel, y, x] = total / weights
    soft = (soft - soft.mean()) / soft.std() * latents.std() + latents.mean()
    torch.testing.assert_close(blur(latents, 2, 0.8), soft.float())
