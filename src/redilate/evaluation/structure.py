"""How much of the native picture's structure a large picture keeps, pixel by pixel."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .extra import needed
from .features import side_by_side


def structural_similarity(native: Image.Image, large: Image.Image) -> float:
    """SSIM (Wang et al. 2004) of `large`, shrunk to the native scale, with `native`: 1 for equal pictures, at most 1.

    It asks for every contour in its place: another sound drawing of the same thing has a low one, and a ground that
    both share raises it. See side_by_side for how pictures of other ratios are brought together. RedilateError if
    the `eval` extra is not installed.
    """
    reference, shrunk = map(_pixels, side_by_side(native, large))
    functional = needed("torchmetrics.functional.image")
    return float(functional.structural_similarity_index_measure(shrunk, reference, data_range=1.0))


def _pixels(image: Image.Image) -> Tensor:
    """Float64 of shape (1, 3, h, w) in [0, 1]: in float32 a flat ground differs from itself."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].double() / 255
