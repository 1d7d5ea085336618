"""FouriScale's filter against a discrete Fourier transform written out."""

import math

import numpy as np
import pytest
import torch

from redilate.rivals.lowpass import low_pass, response


def test_the_response_is_one_where_subsampling_keeps_and_falls_straight_beyond():
    # 16 pixels, subsampled by 2: up to frequency 8 / 2 + 1 all is kept, then 1 / max(8 / 8, 1) is lost a step.
    assert response(16, 2.0)[:9].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert response(16, 2.0, gentle=True)[:9].tolist() == [1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert response(16, 2.0, floor=0.6)[:9].tolist() == pytest.approx([1] * 6 + [0.6] * 3)
    for length in (7, 16):
        full = response(length, 2.0)
        assert torch.equal(full[1:], full[1:].flip(0))  # the same for both signs of a frequency
        assert torch.equal(response(length, 1.0), torch.ones(length, dtype=torch.float64))


@pytest.mark.parametrize("gentle", [False, True])
@pytest.mark.parametrize(("size", "padded"), [((8, 8), (8, 8)), ((6, 9), (6, 9)), ((5, 8), (10, 8))])
def test_filtering_is_the_mask_on_the_transform_of_the_padded_features(size, padded, gentle):
    features = torch.randn(1, 2, *size, dtype=torch.float32)
    found = low_pass(features, (2.0, 1.5), padded, gentle=gentle, floor=0.1)
    whole = np.zeros((2, *padded))
    whole[:, : size[0], : size[1]] = features[0].double().numpy()
    transforms = [np.exp(-2j * math.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in padded]
    rows, columns = (
        response(length, scale, gentle=gentle, floor=0.1).numpy()
        for length, scale in zip(padded, (2.0, 1.5), strict=True)
    )
    for channel in range(2):
        spectrum = transforms[0] @ whole[channel] @ transforms[1].T * np.outer(rows, columns)
        back = (np.conj(transforms[0]) @ spectrum @ np.conj(transforms[1]).T / np.prod(padded)).real
        np.testing.assert_allclose(found[0, channel].numpy(), back[: size[0], : size[1]], atol=1e-5)


def test_half_precision_stays_half_precision():
    features = torch.randn(1, 1, 6, 10, dtype=torch.float16)
    found = low_pass(features, (2.0, 2.0), (8, 12))
    assert found.dtype == torch.float16
    torch.testing.assert_close(
        found.float(), low_pass(features.float(), (2.0, 2.0), (8, 12)), atol=2e-3, rtol=0
    )
