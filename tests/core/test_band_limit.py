"""FouriScale's filter against a discrete Fourier transform written out, and ours against the cosine transform."""

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from redilate.core.band_limit import band_limited, low_pass, response


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


def test_a_band_limit_is_the_response_on_scipys_cosine_transform():
    features = torch.randn(2, 3, 12, 17, dtype=torch.float64)
    spectrum = dctn(features.numpy(), axes=(2, 3), norm="ortho")
    for axis, (length, scale) in enumerate(((12, 2.0), (17, 3.0))):
        # Wave k of a cosine transform has k / 2 cycles: those of a Fourier transform of twice the length.
        kept = 1 - np.clip((np.arange(length) / 2 - (length / 2 / scale + 1)) / max(length / 16, 1), 0, 1)
        spectrum *= kept[:, None] if axis == 0 else kept
    wanted = idctn(spectrum, axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(band_limited(features, (2.0, 3.0)).numpy(), wanted, atol=1e-12)


def test_a_band_limit_keeps_what_is_even_and_slow_and_no_fast_wave():
    assert torch.allclose(band_limited(torch.full((1, 1, 32, 32), 0.7), (2.0, 2.0)), torch.tensor(0.7))
    fast = torch.cos(math.pi * 31 / 32 * (torch.arange(32.0) + 0.5)).expand(1, 1, 32, 32)
    assert band_limited(fast, (1.0, 2.0)).abs().max() < 1e-5
    assert torch.equal(band_limited(fast, (1.0, 1.0)), fast)
