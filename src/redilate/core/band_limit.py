"""FouriScale's low-pass filters of feature maps before a dilated convolution (arXiv 2403.12963, section 3.3).

A kernel dilated by d reads every d-th pixel, so higher frequencies alias. `low_pass` is the paper's own filter, on the
Fourier transform of the padded features. `band_limited` is ours: the same response on the cosine transform, which
continues a map by its mirror image and needs no padding, as one matrix for each axis.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SHARP = 1 / 8  # how wide the edge is, as a share of the band up to the Nyquist frequency


def response(length: int, scale: float, *, gentle: bool = False, floor: float = 0.0) -> Tensor:
    """The filter's gain at each frequency along an axis.

    1 up to the frequency after 1/`scale` of Nyquist's, which `scale`-fold subsampling preserves; then a linear fall to
    `floor`.

    Args:
        length: of the axis, in pixels.
        scale: at least 1.
        gentle: whether the fall takes the whole remaining band (for the guiding estimate), or an eighth of the full
            one.
        floor: in [0, 1].

    Returns:
        (length,), in the order of `torch.fft.fftfreq`; float64.
    """
    frequency = torch.fft.fftfreq(length, dtype=torch.float64).abs() * length
    return _kept(frequency, length, scale, gentle, floor)


def _kept(frequency: Tensor, length: int, scale: float, gentle: bool = False, floor: float = 0.0) -> Tensor:
    """`response` at frequencies in cycles per `length`."""
    half = length / 2
    edge = half / scale + 1
    width = half * (1 - 1 / scale) if gentle else max(half * SHARP, 1)
    fall = (frequency - edge).clamp(min=0) / width if width else torch.zeros_like(frequency)
    return (1 - (1 - floor) * fall).clamp(min=floor)


def low_pass(
    features: Tensor,
    scale: tuple[float, float],
    padded: tuple[int, int],
    *,
    gentle: bool = False,
    floor: float = 0.0,
) -> Tensor:
    """Filter features (…, H, W), padded with zeros to a multiple of the trained size and cropped afterwards.

    Args:
        scale: per axis (height, width), as for `response`.
        padded: (height, width) to pad to, at least the features' own size.
    """
    height, width = features.shape[-2:]
    rows = response(padded[0], scale[0], gentle=gentle, floor=floor)
    columns = response(padded[1], scale[1], gentle=gentle, floor=floor)[: padded[1] // 2 + 1]
    mask = torch.outer(rows, columns).to(features.device, torch.float32)
    # Half precision has no transform for every size.
    single = F.pad(features.float(), (0, padded[1] - width, 0, padded[0] - height))
    filtered = torch.fft.irfft2(torch.fft.rfft2(single) * mask, s=padded)
    return filtered[..., :height, :width].to(features.dtype)


def band_limited(features: Tensor, scale: tuple[float, float]) -> Tensor:
    """Features (…, H, W) without what subsampling by `scale` (height, width) would alias; 1 is the identity.

    Each axis costs 2 · length operations per value, a few hundredths of a convolution's cost.
    """
    height, width = features.shape[-2:]
    if scale[0] > 1:
        features = _matrix(height, scale[0], features.device, features.dtype) @ features
    if scale[1] > 1:
        features = features @ _matrix(width, scale[1], features.device, features.dtype).mT
    return features


@lru_cache(maxsize=64)
def _matrix(length: int, scale: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(length, length): Cᵀ diag(response) C with C the orthonormal DCT-II, whose wave k has k / 2 cycles."""
    with torch.inference_mode(False):  # cached for later calls, which may need gradients
        waves = torch.arange(length, dtype=torch.float64)
        cosines = torch.cos(math.pi / length * torch.outer(waves, waves + 0.5)) * math.sqrt(2 / length)
        cosines[0] /= math.sqrt(2)
        kept = _kept(waves / 2, length, scale)
        return (cosines.T @ (kept[:, None] * cosines)).to(device, dtype)
