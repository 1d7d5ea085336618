"""Whether a picture is recognised: whether its own reference is the nearest of many; chance is 1 / references.

It cannot see a flaw that leaves the picture nearest to its own reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from .features import side_by_side, signature


class Gallery:
    """Reference pictures.

    Args:
        references: at least one, all of one size.
        size: (width, height) of the pictures to compare with them.
    """

    def __init__(self, references: Sequence[Image.Image], size: tuple[int, int]):
        self._first = references[0]
        blank = Image.new("RGB", size)
        # On a canvas of the pictures' ratio, as in `features.feature_distance`.
        self._known = torch.stack([signature(side_by_side(one, blank)[0]) for one in references])

    def distances(self, picture: Image.Image) -> Tensor:
        """`features.feature_distance` of the picture to each reference, float32 of shape (references,)."""
        seen = signature(side_by_side(self._first, picture)[1])
        return (self._known - seen).square().sum(dim=1)

    def nearest(self, picture: Image.Image) -> int:
        """The index of the nearest reference."""
        return int(self.distances(picture).argmin())
