"""The timesteps of a large leg: spread evenly in noise level from the level that it starts at, for any scheduler.

diffusers' image-to-image pipelines take a `strength`, which means another noise level for each scheduler, spacing and
number of steps. Where a scheduler takes explicit timesteps it is given them; else its own schedule is searched for the
call that comes nearest.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ..errors import RedilateError
from .start_search import find_start

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
        noise_level: timestep → noise level, `pipelines.noise.noise_level_of`.
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
