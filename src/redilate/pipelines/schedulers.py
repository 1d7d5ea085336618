"""Schedulers: by name, and the timesteps of a large leg, spread evenly in noise level from the level that it starts at.

diffusers' image-to-image pipelines take a `strength`, which means another noise level for each scheduler, spacing and
number of steps. Where a scheduler takes explicit timesteps it is given them; else its own schedule is searched for the
call that comes nearest.
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
    counts = range(works + 1, fails)
    return works + bisect.bisect_left(counts, True, key=lambda steps: _refusal(scheduler, steps) is not None)


# Spacings that crowd the steps at low noise: a leg of Karras spacing from 0.25 would take the timesteps 249, 30, 0.
_CROWDED = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)


@dataclass(frozen=True)
class LegSchedule:
    """How an image-to-image pipeline is called so that it takes a number of steps from a noise level down.

    Attributes:
        level: the noise level in [0, 1] of the first step.
        timesteps: those that the network is called at, from the highest; of a second-order scheduler more than steps.
        arguments: the pipeline's own `timesteps`, or its `num_inference_steps`, and its `strength`.
    """

    level: float
    timesteps: tuple[float, ...]
    arguments: dict[str, Any]


def leg_scheduler(scheduler: Any) -> Any:
    """A scheduler of the same class and noise schedule for a large leg, its steps spread evenly in noise level.

    Where it knows spacings it is set to "trailing": "leading" wastes the last of few steps on a level of nearly 0
    (Lin et al. 2023, arXiv 2305.08891, section 3.3).
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
    """DDIM whose timesteps lie as far apart as its `step` goes down: T // steps.

    diffusers' own lie T / steps apart. Where that is not whole, each step leaves a little more noise than the network
    is told of at the next: a grain that a leg of 11 of 24 steps shows.
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
        pipe: asked which arguments its call takes.
        scheduler: the leg's, see `leg_scheduler`; left as it is.
        steps: at least 1.
        level: in (0, 1].
        noise_level: timestep → noise level, `pipelines.apply.noise_level_of`.
        explicit: whether explicit timesteps may be given; an inpainting pipeline takes a strength of 1, which they
            need, for "keep nothing".

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
    except (ValueError, NotImplementedError):  # continuous timesteps, a spacing of its own
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
# Schedules of few steps more than are wanted have none left for some schedulers (PNDM), where longer ones have.
_FEW = 3


def find_start(
    scheduler: Any, steps: int, level: float, noise_level: Callable[[Any], float], device: Any = "cpu"
) -> LegSchedule:
    """The call whose last `steps` steps start nearest to noise level `level`; some of the schedule is always left out.

    Args:
        scheduler: is left as it is.
        steps: at least 1.
        level: in (0, 1).
        noise_level: timestep → noise level, `pipelines.apply.noise_level_of`.
        device: that the pipeline will run on.

    Raises:
        RedilateError: if the scheduler cannot take so many steps, or cannot be asked.
    """
    trial = copy.deepcopy(scheduler)

    @cache
    def start_of(scheduled: int) -> LegSchedule | None:
        """Of a call of so many steps; None where the scheduler cannot take them, or none would be left."""
        try:
            trial.set_timesteps(scheduled, device=device)
        except ValueError:
            return None  # LCM and its kin know a largest number of steps
        left = trial.timesteps[(scheduled - steps) * getattr(trial, "order", 1) :]
        if len(left) == 0:
            return None
        # diffusers takes int(scheduled × strength): half a step above the whole number is safe from rounding.
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
    """The first number of range(low, high) for which `holds`, which stays so above it; `high` if there is none.

    Looks near `guess` first, since a scheduler takes the longer to answer the more steps there are.
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
