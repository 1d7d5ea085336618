"""Offload where it is needed: the command owns its pipeline, and may keep its networks in the host's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .console import say_warning

Made = TypeVar("Made")


def offloading(pipe: Any, make: Callable[[], Made]) -> Made:
    """`make()`; once more with `pipe` offloaded, where it is refused as too large and would fit so.

    Such a refusal comes before any work, so nothing is done twice.

    Raises:
        RedilateError: for anything else that `make` refuses.
    """
    from redilate.pipelines.memory import TooLarge

    try:
        return make()
    except TooLarge as refusal:
        if not refusal.offload:
            raise
    say_warning(
        "the networks wait in the host's memory until each is needed, which is slower: only so it fits"
    )
    pipe.enable_model_cpu_offload()
    return make()
