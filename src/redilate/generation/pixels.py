"""Pictures as tensors and back, and keeping a picture's colours."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.schedule import with_low_frequencies_of
from .drawing import Colour

_COLOUR_CELLS = 16  # along the short side


def to_tensor(image: Image.Image) -> Tensor:
    """(1, 3, height, width), float32 in [0, 1]."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def to_image(pixels: Tensor) -> Image.Image:
    """The picture of a tensor (1, 3, height, width), clipped to [0, 1]."""
    rounded = (pixels[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(rounded.permute(1, 2, 0).contiguous().numpy())


def keep_colour(image: Image.Image, before: Image.Image, how: Colour) -> Image.Image:
    """`image` with the colours of `before`, which may have another size; "as-drawn" is the identity.

    "moments" is AdaIN in pixels (Huang and Belongie 2017, arXiv 1703.06868, equation 8); "low" replaces the means over
    cells, as StableSR's colour correction does (Wang et al. 2023, arXiv 2305.07015, section 3.4).
    """
    if how == "as-drawn":
        return image
    drawn = to_tensor(image)
    wanted = to_tensor(before.resize(image.size, Image.Resampling.LANCZOS))
    if how == "low":
        period = min(image.size) / _COLOUR_CELLS
        return to_image(with_low_frequencies_of(drawn, wanted, period, 1.0))
    over = {"dim": (-2, -1), "keepdim": True}
    deviation = drawn.std(**over).clamp(min=1e-6)
    return to_image((drawn - drawn.mean(**over)) / deviation * wanted.std(**over) + wanted.mean(**over))
