"""In one stage, or as a relay: what `generate`'s mode comes to for a pipeline and a size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..core.patch import find_patch
from ..errors import RedilateError
from ..pipelines.families import Size, unet_of
from ..pipelines.native import knows_buckets, ratio_to_native
from ..pipelines.native import native_size as native_size_of
from ..plans.plan import Plan
from .patched import Method
from .relay import Runner, unit_of
from .sizes import native_shape
from .stages import Relay

Mode = Literal["auto", "single", "relay"]

# Of the native area, from which "auto" is a relay (docs/results.md): in about the native ratio there is little to
# enlarge below, and in another one the picture at native area is itself drawn in an unfamiliar shape. To a model that
# knows many shapes, as SDXL does, those are native ratios.
RELAY_FROM, RELAY_FROM_IN_OTHER_RATIOS = 1.5, 4.0
_SAME_RATIO = 1.5


def find_runner(
    pipe: Any,
    mode: Mode,
    target: Size,
    *,
    steps: int,
    guidance: float,
    method: Method = "redilate",
    plan: Plan | None = None,
    relay: Relay | None = None,
    native_size: int | Size | None = None,
    extra: Mapping[str, Any] | None = None,
    sequential: bool = False,
    windows: float | None = None,
) -> Runner | None:
    """The large stages of a relay to `target`, (height, width) in pixels; None for a single stage.

    "auto" is a relay where the evaluation has it ahead: for the re-dilated network, from `RELAY_FROM` times the native
    area on, or `RELAY_FROM_IN_OTHER_RATIOS`. It is a single stage for what says itself how the full size is drawn, a
    `plan`, `latents` to start from or a pipeline that is re-dilated already, and where the pipeline cannot do a relay,
    such as for want of an image-to-image pipeline. The other arguments are those of `generate`.

    Raises:
        RedilateError: for a relay that was asked for and cannot be done.
    """
    native = native_size_of(pipe, native_size)
    if mode == "single" or (start := _start(pipe, target, native)) is None:
        return None
    automatic = mode == "auto" and relay is None
    decided = plan is not None or "latents" in (extra or {}) or find_patch(unet_of(pipe)) is not None
    if automatic and (decided or not is_ahead(_times(pipe, target, native), method)):
        return None
    try:
        return Runner(
            pipe,
            relay or Relay(),
            start,
            target,
            steps=steps,
            guidance=guidance,
            method=method,
            plan=plan,
            native_size=native_size,
            extra=extra,
            sequential=sequential,
            windows=windows,
        )
    except RedilateError:
        if automatic:
            return None
        raise


def mode_for(
    pipe: Any, width: int, height: int, *, method: Method = "redilate"
) -> Literal["single", "relay"]:
    """What "auto" is for pictures of width × height pixels."""
    runner = find_runner(pipe, "auto", (height, width), steps=25, guidance=1.0, method=method)
    return "single" if runner is None else "relay"


def is_ahead(times: tuple[float, float], method: Method) -> bool:
    """Whether a relay is ahead of a single stage at so many times the native height and width (`ratio_to_native`)."""
    like_native = 1 / _SAME_RATIO <= times[0] / times[1] <= _SAME_RATIO
    area = RELAY_FROM if like_native else RELAY_FROM_IN_OTHER_RATIOS
    return method == "redilate" and times[0] * times[1] >= area


def _times(pipe: Any, target: Size, native: Size) -> tuple[float, float]:
    return ratio_to_native(target, native, knows_buckets(unet_of(pipe)))


def _start(pipe: Any, target: Size, native: Size) -> Size | None:
    """The size of a relay's native picture, (height, width); None where there is nothing to enlarge."""
    if target[0] * target[1] <= native[0] * native[1]:
        return None
    shape = native_shape(target, native, unit_of(pipe))
    # A long picture little above the native area may be no longer than its native shape.
    return shape if target[0] > shape[0] or target[1] > shape[1] else None
