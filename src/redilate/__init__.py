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
    from .core.conv import Dispersion
    from .core.dispersion import dispersion_matrix
    from .core.guidance import GuidanceLayout
    from .decoding.decode import decode, encode
    from .generation.drawing import Drawing, Hires, Leg, Request
    from .generation.edit import edit
    from .generation.enlarge import enlarge
    from .generation.generate import generate
    from .generation.plan_for import plan_for
    from .generation.resolve import resolve
    from .generation.run import Callbacks, Generation, SafetyStopped, run
    from .pipelines.apply import Handle, apply, is_applied, remove
    from .pipelines.guider import NoiseDampedGuidance
    from .pipelines.loading import load
    from .plans.plan import NoiseDamping, Plan, Windows

__version__ = "0.2.0"

__all__ = [
    "Callbacks",
    "Dispersion",
    "Drawing",
    "Generation",
    "GuidanceLayout",
    "Handle",
    "Hires",
    "Leg",
    "NoiseDampedGuidance",
    "NoiseDamping",
    "Plan",
    "RedilateError",
    "Request",
    "SafetyStopped",
    "Windows",
    "apply",
    "decode",
    "dispersion_matrix",
    "edit",
    "encode",
    "enlarge",
    "generate",
    "is_applied",
    "load",
    "plan_for",
    "remove",
    "resolve",
    "run",
]

# Found on first use, so that `redilate --version` does not wait for torch.
_HOMES = {
    "Dispersion": "core.conv",
    "Drawing": "generation.drawing",
    "Generation": "generation.run",
    "GuidanceLayout": "core.guidance",
    "Handle": "pipelines.apply",
    "Hires": "generation.drawing",
    "Leg": "generation.drawing",
    "NoiseDampedGuidance": "pipelines.guider",
    "NoiseDamping": "plans.plan",
    "Plan": "plans.plan",
    "Request": "generation.drawing",
    "SafetyStopped": "generation.run",
    "Callbacks": "generation.run",
    "Windows": "plans.plan",
    "apply": "pipelines.apply",
    "decode": "decoding.decode",
    "dispersion_matrix": "core.dispersion",
    "edit": "generation.edit",
    "encode": "decoding.decode",
    "enlarge": "generation.enlarge",
    "generate": "generation.generate",
    "is_applied": "pipelines.apply",
    "load": "pipelines.loading",
    "plan_for": "generation.plan_for",
    "remove": "pipelines.apply",
    "resolve": "generation.resolve",
    "run": "generation.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
