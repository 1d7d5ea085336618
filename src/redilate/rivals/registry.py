"""Every way of drawing large by its name: what the command line and the evaluation choose from.

Nothing of torch's weight is imported before a method is called, so that `redilate --help` can list the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import RedilateError

if TYPE_CHECKING:
    from ..generation.run import Generation, OnStep


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
        guidance: float | None = None,
        negative: str | None = None,
        on_step: OnStep | None = None,
    ) -> Generation: ...


@dataclass(frozen=True)
class _Method:
    """The function `draw` of a module of this package, or another one, found when it is first called."""

    module: str
    function: str = "draw"
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def found(self) -> Any:
        """The function itself."""
        return getattr(import_module(self.module, __package__), self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.found()(*args, **self.fixed, **kwargs)


# The presets of `generate` by a name of their own, so that a study can hold them beside one another.
OWN = ("direct", "redilate", "strength1", "published", "faithful")
METHODS: Mapping[str, Draw] = {
    "direct": _Method("..generation.generate", "generate", {"method": "direct"}),
    "redilate": _Method("..generation.generate", "generate", {"method": "redilate"}),
    "strength1": _Method("..generation.generate", "generate", {"strength": 1.0}),
    "published": _Method("..generation.generate", "generate", {"preset": "published"}),
    "faithful": _Method("..generation.generate", "generate", {"preset": "faithful"}),
    "attention_scaling": _Method(".attention_scaling"),
    "multidiffusion": _Method(".multidiffusion"),
    "hidiffusion": _Method(".hidiffusion"),
    "fouriscale": _Method(".fouriscale"),
    "demofusion": _Method(".demofusion"),
    "upscale_lanczos": _Method(".upscale_lanczos"),
    "upscale_esrgan": _Method(".upscale_esrgan"),
    "upscale_animevideo": _Method(".upscale_esrgan", fixed={"model": "realesr-animevideov3"}),
    "freeu": _Method(".freeu"),
    "redilate_freeu": _Method(".freeu", fixed={"method": "redilate"}),
}


def find(name: str) -> Draw:
    """The method of that name; RedilateError lists those that there are."""
    if name not in METHODS:
        raise RedilateError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]


def function_of(name: str) -> Any:
    """The function behind a method, whose keyword arguments are its settings."""
    method = METHODS[name]
    return method.found() if isinstance(method, _Method) else method


def settings_of_method(name: str) -> Mapping[str, Any]:
    """The arguments of `generate` that one of our own methods sets."""
    method = METHODS[name]
    return method.fixed if isinstance(method, _Method) else {}
