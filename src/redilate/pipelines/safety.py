"""Whether a pipeline's safety checker has blacked a picture out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Stable Diffusion's name for it, and DeepFloyd IF's.
_FIELDS = ("nsfw_content_detected", "nsfw_detected")


def blacked_out(result: Any) -> list[int]:
    """Which pictures of a pipeline's result its safety checker has replaced by black ones, counted from 0.

    Args:
        result: what the pipeline's `__call__` returned; one without a safety checker says None, or has no such field.
    """
    for name in _FIELDS:
        found = getattr(result, name, None)
        if isinstance(found, Iterable):
            return [index for index, unsafe in enumerate(found) if unsafe]
    return []
