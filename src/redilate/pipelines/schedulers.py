"""Schedulers by name, as users write them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import RedilateError

_SHORT = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "pndm": "PNDMScheduler",
    "lms": "LMSDiscreteScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "dpm++-single": "DPMSolverSinglestepScheduler",
    "dpm++-sde": "DPMSolverSDEScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}


def check_scheduler(name: str) -> str:
    """The diffusers class that `name` (a short name or the class's own) stands for.

    Raises:
        RedilateError: for an unknown one; the message lists the short names.
    """
    import diffusers

    found = _SHORT.get(name.lower(), name)
    if not found.endswith("Scheduler") or not hasattr(diffusers, found):
        raise RedilateError(
            f"unknown scheduler {name!r}; known: {', '.join(_SHORT)}, or a diffusers class name"
        )
    # A class whose own requirement is missing is replaced by a dummy that names it in `_backends`.
    missing = [
        name for name in getattr(getattr(diffusers, found), "_backends", []) if find_spec(name) is None
    ]
    if missing:
        raise RedilateError(
            f"the scheduler {name!r} needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    return found


def use_scheduler(pipe: Any, name: str) -> None:
    """Give `pipe` the scheduler called `name`, with the noise schedule of the one it has."""
    import diffusers

    found = check_scheduler(name)
    pipe.scheduler = getattr(diffusers, found).from_config(pipe.scheduler.config)
