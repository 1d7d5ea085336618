"""Every method of drawing large by its name, for the command line and the evaluation.

Methods are imported when they are called, so that `redilate --help` is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import RedilateError

if TYPE_CHECKING:
    from ..generation.run import Generation


@dataclass(frozen=True)
class Method:
    """A function that draws one picture from one prompt; imported when it is called."""

    module: str
    function: str = "draw"
    fixed: Mapping[str, Any] = field(default_factory=dict)  # the method's fixed arguments of the function
    within: bool = False  # it is a context manager on a pipeline, to draw within

    def found(self) -> Any:
        """The function itself; its keyword arguments are the method's settings."""
        return getattr(import_module(self.module, __package__), self.function)

    def __call__(self, pipe: Any, prompt: str, **arguments: Any) -> Generation:
        """One picture; the arguments are those of `generation.generate`, and the method's settings."""
        if self.within:
            from .installing import draw_within

            return draw_within(self.found(), pipe, prompt, **arguments)
        return self.found()(pipe, prompt, **self.fixed, **arguments)


_GENERATE = ("..generation.generate", "generate")
METHODS: Mapping[str, Method] = {
    "direct": Method(*_GENERATE, {"method": "direct"}),
    "redilate": Method(*_GENERATE, {"method": "redilate"}),
    "strength1": Method(*_GENERATE, {"strength": 1.0}),
    "published": Method(*_GENERATE, {"preset": "published"}),
    "faithful": Method(*_GENERATE, {"preset": "faithful"}),
    "attention_scaling": Method(".attention_scaling", "attention_scaling", within=True),
    "multidiffusion": Method(".multidiffusion", "multidiffusion", within=True),
    "hidiffusion": Method(".hidiffusion", "hidiffusion", within=True),
    "fouriscale": Method(".fouriscale", "fouriscale", within=True),
    "demofusion": Method(".demofusion"),
    "upscale_lanczos": Method(".upscale", "by_lanczos"),
    "upscale_esrgan": Method(".upscale", "by_network"),
    "upscale_animevideo": Method(".upscale", "by_network", {"model": "realesr-animevideov3"}),
    "freeu": Method(".freeu"),
    "redilate_freeu": Method(".freeu", fixed={"method": "redilate"}),
}
# Those of `generate`: its presets have names, for comparisons.
OWN = ("direct", "redilate", "strength1", "published", "faithful")


def find(name: str) -> Method:
    """The method of that name; RedilateError lists the known ones."""
    if name not in METHODS:
        raise RedilateError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
