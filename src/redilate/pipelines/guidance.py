"""Where the ∅ part of a batch stands, for each pipeline's way of guiding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.guidance import GuidanceLayout


def guidance_of(pipe: Any) -> Callable[[], GuidanceLayout | None]:
    """→ the layout of the call under way; None without guidance. Batch size alone could not tell."""

    def layout() -> GuidanceLayout | None:
        if not getattr(pipe, "do_classifier_free_guidance", False):
            return None
        if "InstructPix2Pix" in type(pipe).__name__:
            return GuidanceLayout(chunks=3, unconditional=2)  # [text, image, ∅]
        if getattr(pipe, "do_perturbed_attention_guidance", False):
            return GuidanceLayout(chunks=3, unconditional=0)  # [∅, text, perturbed]
        return GuidanceLayout(chunks=2, unconditional=0)

    return layout
