"""Every way of drawing large by its name: what the command line and the evaluation choose from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from ..errors import RedilateError
from ..generation.generate import Generation, OnStep, generate


class Draw(Protocol):
    """One picture from one prompt; the arguments are those of `generation.generate`."""

    def __call__(
        self,
        pipe: Any,
        prompt: str,
        *,
        width: int,
        height: int,
        seed: int = 0,
        steps: int = 25,
        guidance: float = 5.0,
        negative: str | None = None,
        on_step: OnStep | None = None,
    ) -> Generation: ...


METHODS: Mapping[str, Draw] = {
    "direct": partial(generate, method="direct"),
    "redilate": partial(generate, method="redilate"),
    "relay": partial(generate, mode="relay"),
}


def find(name: str) -> Draw:
    """The method of that name; RedilateError lists those that there are."""
    if name not in METHODS:
        raise RedilateError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
