"""Shared by methods that change a U-Net: undoing the change, and drawing within it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from ..core.patch import find_patch
from ..errors import RedilateError
from ..generation.generate import generate
from ..generation.run import Generation
from ..pipelines.families import Size, controlnets_of, latent_scale, unet_of
from ..pipelines.families import native_size as native_size_of

_MARK = "_redilate_rival"


@contextmanager
def installing(pipe: Any, name: str) -> Iterator[tuple[nn.Module, ExitStack]]:
    """The pipeline's U-Net, and a stack of callbacks that undo the changes, also after an exception.

    Raises:
        RedilateError: for a pipeline without a U-Net, and one that is re-dilated, compiled, has a ControlNet, or uses
            another of these methods.
    """
    unet = unet_of(pipe)
    if find_patch(unet) is not None:
        raise RedilateError(f"the pipeline is re-dilated; call redilate.remove(pipe) before {name}")
    if other := unet.__dict__.get(_MARK):
        raise RedilateError(f"the pipeline draws with {other} already; leave that before {name}")
    if getattr(pipe, "unet", unet) is not unet or unet._compiled_call_impl is not None:
        raise RedilateError(
            f"the U-Net is compiled, and {name} changes what it computes; use an uncompiled one"
        )
    if controlnets_of(pipe):
        raise RedilateError(
            f"{name} does not fit ControlNets; use redilate or direct, or the pipeline without"
        )
    unet.__dict__[_MARK] = name
    with ExitStack() as stack:
        stack.callback(unet.__dict__.pop, _MARK, None)
        yield unet, stack


def native_latent_size(pipe: Any, native_size: int | Size | None = None) -> Size:
    """The latent (height, width) that the checkpoint was trained at."""
    scale = latent_scale(pipe)
    height, width = native_size_of(pipe, native_size)
    return height // scale, width // scale


def draw_within(
    method: Callable[..., AbstractContextManager[Any]], pipe: Any, prompt: str, **arguments: Any
) -> Generation:
    """Direct inference inside `method(pipe, …)`, which is recorded in the settings.

    The method's arguments go to it, the others to `generation.generate`, and `seed` and `native_size` to both.
    """
    shared = ("seed", "native_size")
    _, *takes = inspect.signature(method).parameters.values()
    settings = {one.name: arguments.get(one.name, one.default) for one in takes}
    others = {name: value for name, value in arguments.items() if name not in settings or name in shared}
    with method(pipe, **settings):
        made = generate(pipe, prompt, method="direct", **others)
    told = {name: value for name, value in settings.items() if name not in shared}
    return replace(made, settings=made.settings | {"method": method.__name__, "parameters": told})
