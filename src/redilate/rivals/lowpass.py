"""FouriScale's low-pass filters of feature maps (arXiv 2403.12963, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pipelines.families import Size

SHARP = 1 / 8  # how wide the edge is, as a share of the band up to the Nyquist frequency


def response(length: int, scale: float, *, gentle: bool = False, floor: float = 0.0) -> Tensor:
    """How much of each frequency along an axis is kept.

    1 up to 1/`scale` of the Nyquist frequency (and the next one), which is what survives `scale`-fold subsampling;
    beyond it a straight fall to `floor`.

    Args:
        length: of the axis, in pixels.
        scale: at least 1.
        gentle: whether the fall takes all of the band that is left, for the guiding estimate, or an eighth of it all.
        floor: in [0, 1].

    Returns:
        (length,), in the order of `torch.fft.fftfreq`; float64.
    """
    half = length / 2
    edge = half / scale + 1
    width = half * (1 - 1 / scale) if gentle else max(half * SHARP, 1)
    frequency = torch.fft.fftfreq(length, dtype=torch.float64).abs() * length
    fall = (frequency - edge).clamp(min=0) / width if width else torch.zeros_like(frequency)
    return (1 - (1 - floor) * fall).clamp(min=floor)


def low_pass(
    features: Tensor, scale: tuple[float, float], padded: Size, *, gentle: bool = False, floor: float = 0.0
) -> Tensor:
    """Filter features (…, H, W), padded with zeros to a multiple of the trained size and cropped afterwards.

    Args:
        scale: per axis (height, width), as for `response`.
        padded: (height, width), at least the features' own: the paper's padding-then-crop, for any ratio.
    """
    height, width = features.shape[-2:]
    rows = response(padded[0], scale[0], gentle=gentle, floor=floor)
    columns = response(padded[1], scale[1], gentle=gentle, floor=floor)[: padded[1] // 2 + 1]
    mask = torch.outer(rows, columns).to(features.device, torch.float32)
    # Half precision has no transform for every size.
    single = F.pad(features.float(), (0, padded[1] - width, 0, padded[0] - height))
    filtered = torch.fft.irfft2(torch.fft.rfft2(single) * mask, s=padded)
    return filtered[..., :height, :width].to(features.dtype)
