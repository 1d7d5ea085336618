"""The timesteps of a large leg: spread evenly in noise level from the level that it starts at, for any scheduler.

diffusers' image-to-image pipelines take a `strength`, which means another noise level for each scheduler, spacing and
number of steps. Where a scheduler takes explicit timesteps it is given them; else its own schedule is searched for the
call that comes nearest.
"""

from __future__ import annotations

import bisect
import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ..errors import RedilateError

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
        noise_level: timestep → noise level, `pipelines.calls.noise_level_of`.
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
    start = find_start(scheduler, steps, level, noise_level)
    asked = {"num_inference_steps": start.scheduled, "strength": start.strength}
    return LegSchedule(start.level, start.timesteps, asked)


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


@dataclass(frozen=True)
class Start:
    """How an image-to-image pipeline is called so that it takes a number of steps from a noise level down.

    Attributes:
        scheduled: its `num_inference_steps`.
        strength: its `strength`.
        timesteps: those that it will denoise at, from the highest; for a second-order scheduler more than steps.
        level: the noise level in [0, 1] of the first: what is added back.
    """

    scheduled: int
    strength: float
    timesteps: tuple[float, ...]
    level: float


def find_start(
    scheduler: Any, steps: int, level: float, noise_level: Callable[[Any], float], device: Any = "cpu"
) -> Start:
    """The call whose last `steps` steps start nearest to noise level `level`; some of the schedule is always left out.

    Args:
        scheduler: is left as it is.
        steps: at least 1.
        level: in (0, 1).
        noise_level: timestep → noise level, `pipelines.calls.noise_level_of`.
        device: that the pipeline will run on.

    Raises:
        RedilateError: if the scheduler cannot take so many steps, or cannot be asked.
    """
    trial = copy.deepcopy(scheduler)

    @cache
    def start_of(scheduled: int) -> Start | None:
        """Of a call of so many steps; None where the scheduler cannot take them, or none would be left."""
        try:
            trial.set_timesteps(scheduled, device=device)
        except ValueError:
            return None  # LCM and its kin know a largest number of steps
        left = trial.timesteps[(scheduled - steps) * getattr(trial, "order", 1) :]
        if len(left) == 0:
            return None
        # diffusers takes int(scheduled × strength): half a step above the whole number is safe from rounding.
        return Start(scheduled, (steps + 0.5) / scheduled, tuple(left.tolist()), noise_level(left[0]))

    def is_low_enough(scheduled: int) -> bool:
        found = start_of(scheduled)
        return found.level <= level if found is not None else scheduled > steps + _FEW

    guess = 2 * steps
    for _ in range(3):
        tried = start_of(min(max(guess, steps + 1), _TIMESTEPS))
        guess = guess if tried is None else round(tried.scheduled * tried.level / level)
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
