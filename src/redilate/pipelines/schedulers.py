"""Schedulers by name, and a large leg's timesteps, evenly spaced from its starting noise level down.

The `strength` of diffusers' image-to-image pipelines means another noise level for each scheduler, spacing and number
of steps. A scheduler that takes explicit timesteps gets those; for others the call that starts nearest is searched.
"""

from __future__ import annotations

import bisect
import copy
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
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
# Stable Diffusion's noise schedule, to try a scheduler class before any model is loaded.
_USUAL = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}
_TRIAL_STEPS = 20
_TRIAL_SHAPE = (1, 4, 8, 8)


def check_scheduler_name(name: str) -> str:
    """The diffusers class of a scheduler, by short name or class name.

    Raises:
        RedilateError: for an unknown one, one that needs a missing package, and one that is not for U-Nets.
    """
    import diffusers

    found = _SHORT.get(name.lower(), name)
    known = f"{', '.join(_SHORT)}, or a diffusers class name"
    kind = getattr(diffusers, found, None) if found.endswith("Scheduler") else None
    if kind is None:
        raise RedilateError(f"unknown scheduler {name!r}; known: {known}")
    # diffusers replaces a class whose requirement is missing by a dummy that names it in `_backends`.
    missing = [package for package in getattr(kind, "_backends", []) if find_spec(package) is None]
    if missing:
        raise RedilateError(
            f"the scheduler {name!r} needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    try:
        made = kind.from_config(_USUAL)
    except Exception as error:  # each class refuses a wrong noise schedule in its own way
        raise RedilateError(f"{found} is no scheduler for a U-Net; {', '.join(_SHORT)} are") from error
    if _refusal(made, _TRIAL_STEPS) is not None:
        raise RedilateError(f"{found} is no scheduler for a U-Net; {', '.join(_SHORT)} are")
    return found


def use_scheduler(pipe: Any, name: str) -> None:
    """Give `pipe` the scheduler `name`, with its present noise schedule."""
    import diffusers

    found = check_scheduler_name(name)
    pipe.scheduler = getattr(diffusers, found).from_config(pipe.scheduler.config)


def check_scheduler(scheduler: Any, steps: int) -> None:
    """RedilateError, with how many steps work, unless `scheduler` can take `steps`; it is not changed."""
    reason = _refusal(scheduler, steps)
    if reason is None:
        return
    name = type(scheduler).__name__
    # A scheduler's own message is about its arrays, not about what the user asked for: it stays the cause.
    why = f" ({reason})" if isinstance(reason, RedilateError) else ""
    works = next((few for few in _nearest(steps) if _refusal(scheduler, few) is None), None)
    if works is None:
        raise RedilateError(f"{name} is no scheduler for a U-Net{why}; {', '.join(_SHORT)} are") from reason
    # All numbers up to a limit work, or all from one on.
    if works < steps:
        counts = range(works + 1, steps)
        works += bisect.bisect_left(counts, True, key=lambda few: _refusal(scheduler, few) is not None)
        raise RedilateError(f"steps: {name} cannot take {steps}; {works} is the most{why}") from reason
    raise RedilateError(f"steps: {name} cannot take {steps}; {works} or more work{why}") from reason


def _refusal(scheduler: Any, steps: int) -> Exception | None:
    """Why `scheduler` cannot take so many steps; None if it can.

    Tries the first two steps on a small picture, since all steps of a slow scheduler (LMS) would take seconds.
    """
    most = scheduler.config.get("num_train_timesteps")
    if most is not None and steps > most:
        return RedilateError(f"the model was trained with {most}")
    one = copy.deepcopy(scheduler)
    generator = torch.Generator().manual_seed(0)
    try:
        # Some draw noise from torch's global generator, which is the user's.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            one.set_timesteps(steps)
            timesteps = one.timesteps
            if len(timesteps) < 1 or float(timesteps[0]) < float(timesteps[-1]):
                return RedilateError("it goes from pictures to noise")
            latents = torch.randn(_TRIAL_SHAPE, generator=generator) * one.init_noise_sigma
            for timestep in timesteps[:2]:
                noise = torch.zeros_like(one.scale_model_input(latents, timestep))
                latents = one.step(noise, timestep, latents, return_dict=False)[0]
    except Exception as error:  # drawing would raise it too
        return error
    return None if bool(latents.isfinite().all()) else RedilateError("it gives no numbers")


def _nearest(steps: int) -> Iterable[int]:
    """Numbers of steps to try: a few above `steps` if that is small, then ever fewer."""
    yield from range(steps + 1, min(steps + 20, 40))
    while steps > 1:
        steps = steps * 2 // 3
        yield steps


# Spacings with most steps at low noise: a leg of Karras spacing from 0.25 would have the timesteps 249, 30, 0.
_CROWDED = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)


@dataclass(frozen=True)
class LegSchedule:
    """An image-to-image pipeline's call that takes a number of steps from a noise level down.

    Attributes:
        level: the noise level in [0, 1] of the first step.
        timesteps: of the network's calls, from the highest; a second-order scheduler has more than steps.
        arguments: the pipeline's `timesteps` or `num_inference_steps`, and its `strength`.
    """

    level: float
    timesteps: tuple[float, ...]
    arguments: dict[str, Any]


def leg_scheduler(scheduler: Any) -> Any:
    """A scheduler of the same class and noise schedule with evenly spaced timesteps, for a large leg.

    Its spacing, if it has one, is "trailing": "leading" wastes the last of few steps on a level near 0 (Lin et al.
    2023, arXiv 2305.08891, section 3.3).
    """
    takes = inspect.signature(type(scheduler).__init__).parameters
    even: dict[str, Any] = {name: False for name in _CROWDED if name in takes and scheduler.config.get(name)}
    if "timestep_spacing" in takes:
        even["timestep_spacing"] = "trailing"
    kind = type(scheduler)
    if kind.__name__ == "DDIMScheduler":
        kind = _whole_steps(kind)
    return kind.from_config(scheduler.config, **even)


@cache
def _whole_steps(ddim: Any) -> Any:
    """DDIM with timesteps T // steps apart, as far as its `step` goes down.

    diffusers' are T / steps apart. If that is not whole, each step leaves more noise than the next timestep says: a
    grain that is visible in a leg of 11 of 24 steps.
    """

    class WholeSteps(ddim):
        def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
            super().set_timesteps(num_inference_steps, device=device)
            apart = self.config.num_train_timesteps // num_inference_steps
            self.timesteps = torch.arange(num_inference_steps, 0, -1, device=device) * apart - 1

    WholeSteps.__name__ = WholeSteps.__qualname__ = ddim.__name__
    return WholeSteps


def leg_schedule(
    pipe: Any,
    scheduler: Any,
    steps: int,
    level: float,
    noise_level: Callable[[Any], float],
    *,
    explicit: bool = True,
) -> LegSchedule:
    """The call of `pipe`, an image-to-image pipeline, that takes `steps` steps from noise level `level`.

    Args:
        scheduler: the leg's, see `leg_scheduler`; it is not changed.
        steps: at least 1.
        level: in (0, 1].
        noise_level: timestep → noise level, `pipelines.apply.noise_level_of`.
        explicit: whether explicit timesteps may be used. They need strength 1, which for an inpainting pipeline means
            "keep nothing".

    Raises:
        RedilateError: if the scheduler cannot take so many steps.
    """
    if explicit and "timesteps" in inspect.signature(pipe.__call__).parameters:
        found = _explicit(scheduler, steps, level, noise_level)
        if found is not None:
            return found
    if level >= 1:
        trial = _trial(scheduler, steps)
        return LegSchedule(
            1.0, tuple(trial.timesteps.tolist()), {"num_inference_steps": steps, "strength": 1.0}
        )
    return find_start(scheduler, steps, level, noise_level)


def _explicit(
    scheduler: Any, steps: int, level: float, noise_level: Callable[[Any], float]
) -> LegSchedule | None:
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        return None
    last = int(scheduler.config.get("num_train_timesteps", 1000)) - 1
    wanted = [min(last, round(level * (last + 1) * (1 - index / steps))) for index in range(steps)]
    if len(set(wanted)) < steps or wanted[-1] < 1:
        return None
    trial = copy.deepcopy(scheduler)
    try:
        trial.set_timesteps(timesteps=wanted)
    except (ValueError, NotImplementedError):  # continuous timesteps, or another spacing
        return None
    taken = tuple(trial.timesteps.tolist())
    return LegSchedule(noise_level(trial.timesteps[0]), taken, {"timesteps": wanted, "strength": 1.0})


def _trial(scheduler: Any, steps: int) -> Any:
    trial = copy.deepcopy(scheduler)
    try:
        trial.set_timesteps(steps)
    except (ValueError, IndexError, RuntimeError) as error:
        raise RedilateError(
            f"{type(scheduler).__name__} cannot take {steps} steps; another number of them, or a scheduler such as "
            "euler, works"
        ) from error
    return trial


_TIMESTEPS = 1000
# With some schedulers (PNDM) only schedules of a few more steps than wanted have enough of them left.
_FEW = 3


def find_start(
    scheduler: Any, steps: int, level: float, noise_level: Callable[[Any], float], device: Any = "cpu"
) -> LegSchedule:
    """The call whose last `steps` steps start nearest to noise level `level`.

    Args:
        scheduler: it is not changed.
        steps, noise_level: as for `leg_schedule`.
        level: in (0, 1).
        device: of the pipeline.

    Raises:
        RedilateError: if the scheduler cannot take so many steps.
    """
    trial = copy.deepcopy(scheduler)

    @cache
    def start_of(scheduled: int) -> LegSchedule | None:
        """Of a call of so many steps; None if the scheduler cannot take them, or none are left."""
        try:
            trial.set_timesteps(scheduled, device=device)
        except ValueError:
            return None  # LCM and TCD have a largest number of steps
        left = trial.timesteps[(scheduled - steps) * getattr(trial, "order", 1) :]
        if len(left) == 0:
            return None
        # diffusers takes int(scheduled × strength): half a step more guards against rounding.
        asked = {"num_inference_steps": scheduled, "strength": (steps + 0.5) / scheduled}
        return LegSchedule(noise_level(left[0]), tuple(left.tolist()), asked)

    def is_low_enough(scheduled: int) -> bool:
        found = start_of(scheduled)
        return found.level <= level if found is not None else scheduled > steps + _FEW

    guess = 2 * steps
    for _ in range(3):
        scheduled = min(max(guess, steps + 1), _TIMESTEPS)
        tried = start_of(scheduled)
        guess = guess if tried is None else round(scheduled * tried.level / level)
    first = _first(is_low_enough, steps + 1, _TIMESTEPS + 1, guess)
    near = map(start_of, range(max(steps + 1, first - _FEW), min(first, _TIMESTEPS) + 1))
    best = min(
        (start for start in near if start is not None),
        key=lambda start: abs(start.level - level),
        default=None,
    )
    if best is None:
        raise RedilateError(
            f"{type(scheduler).__name__} cannot start on the way for {steps} steps; another number of them, "
            "or a scheduler such as euler, works"
        )
    return best


def _first(holds: Callable[[int], bool], low: int, high: int, guess: int) -> int:
    """The first number of range(low, high) from which on `holds` is true; `high` if there is none.

    Starts near `guess`, since schedulers are slow with many steps.
    """
    below, above, stride = low - 1, high, 1
    at = min(max(guess, low), high - 1)
    while below < at < above:
        if holds(at):
            above, at = at, at - stride
        else:
            below, at = at, at + stride
        stride *= 2
    return bisect.bisect_left(range(high), True, below + 1, above, key=holds)
