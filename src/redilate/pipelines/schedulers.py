"""Schedulers by name, as users write them, and whether one can take so many steps."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import torch

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
# A U-Net's usual noise schedule (Stable Diffusion's), to try a class with before any model is loaded.
_USUAL = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}
# Steps that every scheduler for a U-Net takes.
_SOME_STEPS = 20
# Of a latent picture to try a scheduler with.
_SHAPE = (1, 4, 8, 8)


def check_scheduler_name(name: str) -> str:
    """The diffusers class that `name` (a short name or the class's own) stands for.

    Raises:
        RedilateError: for an unknown one, one that needs a package which is missing, and one that is not for U-Nets;
            the message lists the short names.
    """
    import diffusers

    found = _SHORT.get(name.lower(), name)
    known = f"{', '.join(_SHORT)}, or a diffusers class name"
    kind = getattr(diffusers, found, None) if found.endswith("Scheduler") else None
    if kind is None:
        raise RedilateError(f"unknown scheduler {name!r}; known: {known}")
    # A class whose own requirement is missing is replaced by a dummy that names it in `_backends`.
    missing = [package for package in getattr(kind, "_backends", []) if find_spec(package) is None]
    if missing:
        raise RedilateError(
            f"the scheduler {name!r} needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    try:
        made = kind.from_config(_USUAL)
    except Exception as error:  # each class has words of its own for a noise schedule that it does not take
        raise RedilateError(f"{found} is no scheduler for a U-Net; {', '.join(_SHORT)} are") from error
    if _refusal(made, _SOME_STEPS) is not None:
        raise RedilateError(f"{found} is no scheduler for a U-Net; {', '.join(_SHORT)} are")
    return found


def use_scheduler(pipe: Any, name: str) -> None:
    """Give `pipe` the scheduler called `name`, with the noise schedule of the one it has."""
    import diffusers

    found = check_scheduler_name(name)
    pipe.scheduler = getattr(diffusers, found).from_config(pipe.scheduler.config)


def check_scheduler(scheduler: Any, steps: int) -> None:
    """Make sure, before any work, that `scheduler` can take so many steps; a copy is asked, it is left as it was.

    Raises:
        RedilateError: it cannot, and how many it can; or it is no scheduler for a U-Net at all.
    """
    reason = _refusal(scheduler, steps)
    if reason is None:
        return
    name = type(scheduler).__name__
    # A scheduler's own words are about its arrays and arguments, not about what was asked; they stay the cause.
    why = f" ({reason})" if isinstance(reason, RedilateError) else ""
    works = next((few for few in _nearest(steps) if _refusal(scheduler, few) is None), None)
    if works is None:
        raise RedilateError(f"{name} is no scheduler for a U-Net{why}; {', '.join(_SHORT)} are") from reason
    # Beyond one border nothing works, within it everything does.
    if works < steps:
        works = _border(scheduler, works, steps)
        raise RedilateError(f"steps: {name} cannot take {steps}; {works} is the most{why}") from reason
    raise RedilateError(f"steps: {name} cannot take {steps}; {works} or more work{why}") from reason


def _refusal(scheduler: Any, steps: int) -> Exception | None:
    """Why `scheduler` cannot take so many steps; None: it can.

    Its first two steps are tried on a small picture: what a scheduler cannot do shows in its list of timesteps or when
    it is first used, and all steps of a slow one (LMS) would take seconds.
    """
    most = scheduler.config.get("num_train_timesteps")
    if most is not None and steps > most:
        return RedilateError(f"the model was trained with {most}")
    one = copy.deepcopy(scheduler)
    generator = torch.Generator().manual_seed(0)
    try:
        # Some draw noise from torch's own generator, which is the user's.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            one.set_timesteps(steps)
            timesteps = one.timesteps
            if len(timesteps) < 1 or float(timesteps[0]) < float(timesteps[-1]):
                return RedilateError("it goes from pictures to noise")
            latents = torch.randn(_SHAPE, generator=generator) * one.init_noise_sigma
            for timestep in timesteps[:2]:
                noise = torch.zeros_like(one.scale_model_input(latents, timestep))
                latents = one.step(noise, timestep, latents, return_dict=False)[0]
    except Exception as error:  # whatever a scheduler stumbles over, it would stumble over while drawing
        return error
    return None if bool(latents.isfinite().all()) else RedilateError("it gives no numbers")


def _nearest(steps: int) -> Iterable[int]:
    """Counts to look for one that works: a few above a small one, then ever fewer."""
    yield from range(steps + 1, min(steps + 20, 40))
    while steps > 1:
        steps = steps * 2 // 3
        yield steps


def _border(scheduler: Any, works: int, fails: int) -> int:
    """The largest number of steps that works, by bisection."""
    while fails - works > 1:
        middle = (works + fails) // 2
        if _refusal(scheduler, middle) is None:
            works = middle
        else:
            fails = middle
    return works
