"""A pipeline as a method wants it, for the time of a `with`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from ..core.patch import Patch, find_patch
from ..errors import RedilateError
from ..pipelines.apply import apply, check_names, plan_for
from ..pipelines.families import Size, latent_scale, unet_of
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
    used = plan_used(pipe, method, plan, width, height, native_size, windows)
    if used is None or _stands(pipe, plan, windows):
        yield used
    else:
        with apply(pipe, used):
            yield used


def plan_used(
    pipe: Any,
    method: Method,
    plan: Plan | None,
    width: int,
    height: int,
    native_size: int | Size | None,
    windows: float | None = None,
) -> Plan | None:
    """The plan that `patched` would draw by, None for "direct"; the same arguments."""
    if method == "direct":
        return None
    if (existing := _stands(pipe, plan, windows)) is None:
        return planned(pipe, plan, width, height, native_size, windows)
    scale = latent_scale(pipe)
    return existing.plan_at((height // scale, width // scale))  # type: ignore[return-value]


def _stands(pipe: Any, plan: Plan | None, windows: float | None) -> Patch | None:
    """The patch that is at work already, where it is left to."""
    return find_patch(unet_of(pipe)) if plan is None and windows is None else None


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
