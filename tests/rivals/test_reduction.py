"""The resolution-aware downsampler against an index loop."""

import pytest
import torch
from torch import nn

from redilate.rivals.hidiffusion import reduce_further


@pytest.mark.parametrize(("reduction", "size"), [((2, 2), (8, 12)), ((1, 3), (6, 12)), ((4, 2), (17, 9))])
def test_nine_taps_of_the_trained_kernel_stand_alpha_apart_every_two_alpha_pixels(reduction, size):
    conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)
    features = torch.randn(1, 3, *size)
    reduce_further(conv, (conv.stride, conv.padding, conv.dilation), reduction)
    found = conv(features)
    rows, columns = (-(-side // (2 * alpha)) for side, alpha in zip(size, reduction, strict=True))
    assert found.shape == (1, 2, rows, columns)
    for row in range(rows):
        for column in range(columns):
            total = conv.bias.detach().clone()
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    y, x = (2 * row + down) * reduction[0], (2 * column + right) * reduction[1]
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        total += conv.weight[:, :, down + 1, right + 1] @ features[0, :, y, x]
            torch.testing.assert_close(found[0, :, row, column], total)


def test_without_a_reduction_it_is_the_trained_convolution_again():
    conv, features = nn.Conv2d(3, 2, 3, stride=2, padding=1), torch.randn(1, 3, 9, 8)
    plain, trained = conv(features), (conv.stride, conv.padding, conv.dilation)
    reduce_further(conv, trained, (2, 2))
    assert conv(features).shape != plain.shape
    reduce_further(conv, trained, (1, 1))
    assert (conv.stride, conv.padding, conv.dilation) == trained and torch.equal(conv(features), plain)
