"""Redilate: pre-trained diffusion U-Nets, far larger than they were trained for, with no training.

import redilate

pipe = redilate.load()                                     # or any diffusers pipeline of yours
redilate.generate(pipe, "a red apple", width=1024, height=1024).images[0].save("apple.png")

with redilate.apply(pipe):                                 # your own calls, re-dilated
    pipe("a red apple", width=1024, height=768)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import RedilateError

if TYPE_CHECKING:
    from .core.dispersion import dispersion_matrix
    from .decoding.decode import decode, encode
    from .generation.enlarge import enlarge
    from .generation.generate import Generation, generate
    from .generation.stages import Relay, Stage
    from .pipelines.apply import Handle, apply, plan_for, remove
    from .pipelines.loading import load
    from .plans.plan import NoiseDamping, Plan, Windows

__version__ = "0.1.0"

__all__ = [
    "Generation",
    "Handle",
    "NoiseDamping",
    "Plan",
    "RedilateError",
    "Relay",
    "Stage",
    "Windows",
    "apply",
    "decode",
    "dispersion_matrix",
    "encode",
    "enlarge",
    "generate",
    "load",
    "plan_for",
    "remove",
]

# Found on first use, so that `redilate --version` does not wait for torch.
_HOMES = {
    "Generation": "generation.generate",
    "Handle": "pipelines.apply",
    "NoiseDamping": "plans.plan",
    "Plan": "plans.plan",
    "Relay": "generation.stages",
    "Stage": "generation.stages",
    "Windows": "plans.plan",
    "apply": "pipelines.apply",
    "decode": "decoding.decode",
    "dispersion_matrix": "core.dispersion",
    "enlarge": "generation.enlarge",
    "encode": "decoding.decode",
    "generate": "generation.generate",
    "load": "pipelines.loading",
    "plan_for": "pipelines.apply",
    "remove": "pipelines.apply",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
