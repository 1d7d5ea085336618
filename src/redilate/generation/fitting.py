"""Whether the device holds every stage of a picture, and how guidance has to be evaluated for that."""

from __future__ import annotations

from typing import Any

from ..pipelines.families import Size
from ..pipelines.sparing import choose_sequential
from ..plans.plan import Plan
from .patched import Method, plan_used
from .relay import Runner


def fit(
    pipe: Any,
    size: Size,
    runner: Runner | None = None,
    *,
    guidance: float,
    method: Method = "redilate",
    plan: Plan | None = None,
    native_size: int | Size | None = None,
    windows: float | None = None,
    sequential: bool = False,
) -> bool:
    """Whether guidance goes one sample at a time: as asked for, or where the device holds a stage only so.

    It is one answer for all stages, so that a picture can be told by it; `runner` is set to it.

    Args:
        pipe: a diffusers pipeline.
        size: (height, width) in pixels of the first stage.
        runner: the large stages, if there are any.
        guidance, method, plan, native_size, windows, sequential: of the first stage, as for `generate`.

    Raises:
        RedilateError: for a stage that the device cannot hold, with the figure and with what would fit.
    """
    chosen = choose_sequential(
        pipe,
        size[1],
        size[0],
        plan_at=lambda wide, high: plan_used(pipe, method, plan, wide, high, native_size, windows),
        guided=guidance > 1,
        asked=runner.choose_sequential() if runner else sequential,
    )
    if runner:
        runner.sequential = chosen
    return chosen
