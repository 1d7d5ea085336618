"""A pipeline as a method wants it, for the time of a `with`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ..core.patch import find_patch
from ..errors import RedilateError
from ..pipelines.apply import apply, check_names, plan_for
from ..pipelines.families import Size, unet_of
from ..plans.plan import Plan

Method = Literal["redilate", "direct"]


@contextmanager
def patched(
    pipe: Any,
    method: Method,
    plan: Plan | None,
    width: int,
    height: int,
    native_size: int | Size | None,
    windows: float | None = None,
) -> Iterator[Plan | None]:
    """Re-dilated by `plan`, or by `plan_for` where there is none; yields the plan in use, None for "direct".

    A pipeline that is re-dilated already is used as it stands, unless a plan or windows are asked for.

    Raises:
        RedilateError: for direct inference with a pipeline that is re-dilated, or a plan of another network.
    """
    check_patched(pipe, method, plan)
    existing = find_patch(unet_of(pipe))
    if method == "direct":
        yield None
    elif existing is not None and plan is None and windows is None:
        yield existing.plan  # type: ignore[misc]
    else:
        used = planned(pipe, plan, width, height, native_size, windows)
        with apply(pipe, used):
            yield used


def planned(
    pipe: Any,
    plan: Plan | None,
    width: int,
    height: int,
    native_size: int | Size | None,
    windows: float | None,
) -> Plan:
    """`plan`, or what `plan_for` says where there is none, with windows below a noise level where that is given."""
    if plan is not None and windows is None:
        return plan
    default = plan_for(pipe, width=width, height=height, native_size=native_size, windows=windows)
    return default if plan is None else plan.model_copy(update={"windows": default.windows})


def check_patched(pipe: Any, method: Method, plan: Plan | None) -> None:
    """Refuse what `patched` would refuse, without touching the pipeline."""
    unet = unet_of(pipe)
    if method == "direct" and find_patch(unet) is not None:
        raise RedilateError("the pipeline is re-dilated; call redilate.remove(pipe) before direct inference")
    if plan is not None:
        check_names(unet, plan)
