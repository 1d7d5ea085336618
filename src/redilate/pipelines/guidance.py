"""Where the ∅ part of a batch stands, for each pipeline's way of guiding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.guidance import GuidanceLayout
from .call_stack import call_under_way

# These put edits of their own into the batch, or call the network with parts of it: no fixed place for ∅.
_NO_FIXED_LAYOUT = ("LEdits", "Semantic", "SAG", "AttendAndExcite", "Pix2PixZero")


def guidance_of(layout: GuidanceLayout | None = None) -> Callable[[], GuidanceLayout | None]:
    """→ the layout of the call under way; None without guidance. Batch size alone could not tell.

    Args:
        layout: what to say where no pipeline of diffusers' is calling, or one that does not say whether it guides: a
            loop of the user's own, also one in a class that has a `unet` and a `scheduler` or is derived from
            `DiffusionPipeline`.
    """

    def current() -> GuidanceLayout | None:
        call = call_under_way()
        if call is None or (layout is not None and not (call.stock and call.guided is not None)):
            return layout
        return layout_of(call.pipeline) if call.guided else None

    return current


def layout_of(pipeline: Any) -> GuidanceLayout | None:
    """How a pipeline that is guiding lays out its batch; None where ∅ has no fixed place."""
    name = type(pipeline).__name__
    if any(part in name for part in _NO_FIXED_LAYOUT):
        return None
    if "InstructPix2Pix" in name:
        return GuidanceLayout(chunks=3, unconditional=2)  # [text, image, ∅]
    if getattr(pipeline, "do_perturbed_attention_guidance", False):
        return GuidanceLayout(chunks=3, unconditional=0, whole=True)  # [∅, text, perturbed]
    return GuidanceLayout(chunks=2, unconditional=0)
