"""Whether a picture can be told for what it should show: is its own reference the nearest one among many?

A count of objects cannot see a single object that is drawn beyond recognition; this can, and its chance level is
known: 1 / references. It cannot see a flaw that leaves the picture nearer to its own reference than to all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from .features import deep_maps, side_by_side


def distances(pictures: Sequence[Image.Image], references: Sequence[Image.Image]) -> Tensor:
    """`features.feature_distance` of each picture to each reference, float32 of shape (pictures, references).

    All references have one size, as have all pictures; a picture is shrunk to the references' scale.
    RedilateError if the `eval` extra is not installed.
    """
    # A reference lies on a canvas of the picture's ratio, which is the same for all pictures.
    known = [_maps(side_by_side(reference, pictures[0])[0]) for reference in references]
    rows = []
    for picture in pictures:
        seen = _maps(side_by_side(references[0], picture)[1])
        rows.append([_distance(seen, one) for one in known])
    return torch.tensor(rows)


def ranks(pictures: Sequence[Image.Image], references: Sequence[Image.Image]) -> list[int]:
    """Picture k's place for reference k: how many of the references are nearer to it than its own; 0 is recognised."""
    between = distances(pictures, references)
    own = between.diagonal()[:, None]
    return (between < own).sum(dim=1).tolist()


def _maps(image: Image.Image) -> list[Tensor]:
    return [nn.functional.normalize(maps, dim=1) for maps in deep_maps(image)]


def _distance(first: list[Tensor], second: list[Tensor]) -> float:
    parts = [(a - b).square().sum(dim=1).mean().item() for a, b in zip(first, second, strict=True)]
    return sum(parts) / len(parts)
