"""Where in the noise schedule image to image starts, and in how many steps it ends.

diffusers' pipelines take a `strength`, which means another noise level for each scheduler, spacing and number of
steps. Here the scheduler itself is asked which timesteps it would go through.
"""

from __future__ import annotations

import bisect
import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import RedilateError

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
        noise_level: timestep → noise level, `pipelines.noise.noise_level_of`.
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
