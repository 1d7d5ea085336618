"""Which pipeline is calling the network just now, and whether it is guiding.

A U-Net is often shared: `StableDiffusionImg2ImgPipeline.from_pipe(pipe)` makes a second pipeline around the same one,
with guidance and a scheduler of its own. The network is told neither, so the pipeline that `apply` was called on
would answer for another's call. Who is calling stands on the call stack.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

_FLAG = "do_classifier_free_guidance"


class Call(NamedTuple):
    """A pipeline's call under way.

    Attributes:
        pipeline: one of diffusers', or an object of another class that has a `unet` and a `scheduler` as they do.
        guided: whether the batch holds an unconditional part; None where the pipeline does not say.
        stock: whether the pipeline is one of diffusers', or of a class derived from them.
    """

    pipeline: Any
    guided: bool | None
    stock: bool


def call_under_way() -> Call | None:
    """The innermost pipeline on the call stack; None where a loop of the user's own calls the network."""
    frame, pipeline = sys._getframe(1), None
    while frame is not None:
        # Only methods can be a pipeline's; looking at locals is what costs.
        if frame.f_code.co_varnames[:1] == ("self",):
            found = frame.f_locals.get("self")
            if _is_pipeline(found) if pipeline is None else found is pipeline:
                pipeline = found
                # Older pipelines keep the flag in a variable of `__call__` rather than in a property.
                flag = getattr(found, _FLAG, None)
                guided = frame.f_locals.get(_FLAG) if flag is None else flag
                if guided is not None:
                    return Call(found, bool(guided), _is_stock(found))
        frame = frame.f_back
    return None if pipeline is None else Call(pipeline, None, _is_stock(pipeline))


def _is_pipeline(candidate: Any) -> bool:
    # Both are class attributes or instance attributes of a pipeline; a torch module has at most one of them.
    return getattr(candidate, "unet", None) is not None and hasattr(candidate, "scheduler")


def _is_stock(pipeline: Any) -> bool:
    from diffusers import DiffusionPipeline, ModularPipeline

    return isinstance(pipeline, DiffusionPipeline | ModularPipeline)
