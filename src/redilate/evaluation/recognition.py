"""Whether a picture can be told for what it should show: is its own reference the nearest one among many?

A count of objects cannot see a single object that is drawn beyond recognition; this can, and its chance level is
known: 1 / references. It cannot see a flaw that leaves the picture nearer to its own reference than to all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from .features import side_by_side, signature


class Gallery:
    """Pictures of one size that others, of another size, are told by.

    Args:
        references: at least one, all of one size.
        size: (width, height) of the pictures that will be compared with them.

    RedilateError if the `eval` extra is not installed.
    """

    def __init__(self, references: Sequence[Image.Image], size: tuple[int, int]):
        self._first = references[0]
        blank = Image.new("RGB", size)
        # A reference lies on a canvas of the pictures' ratio, as in `features.feature_distance`.
        self._known = torch.stack([signature(side_by_side(one, blank)[0]) for one in references])

    def distances(self, picture: Image.Image) -> Tensor:
        """`features.feature_distance` of the picture to each reference, float32 of shape (references,)."""
        seen = signature(side_by_side(self._first, picture)[1])
        return (self._known - seen).square().sum(dim=1)

    def nearest(self, picture: Image.Image) -> int:
        """The index of the reference that is nearest to the picture."""
        return int(self.distances(picture).argmin())
