"""From the timestep that a scheduler hands the U-Net to a noise level in [0, 1]."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..core.schedule import level_of_sigma
from .call_stack import call_under_way

# 0.25 · log σ above which σ would be no number of a computer's; the noise is all there is far below it.
_HIGHEST = 100.0


def noise_level_of(pipe: Any) -> Callable[[Any], float]:
    """timestep → timestep / T, for the scheduler of the pipeline that is calling, else the one that `pipe` has.

    EDM-style schedulers pass 0.25 · log σ instead; σ in units of the data's own deviation, σ / σ_data, is then looked
    up on Stable Diffusion's noise schedule.
    """
    # The patch lives on the U-Net; a strong reference back would keep a discarded pipeline alive.
    owner = weakref.ref(pipe)
    known = _Timesteps()

    def noise_level(timestep: Any) -> float:
        call = call_under_way()
        scheduler = getattr(owner() if call is None else call.pipeline, "scheduler", None)
        config = getattr(scheduler, "config", {})
        value = known.value(timestep, getattr(scheduler, "timesteps", None))
        if _passes_log_sigma(config):
            return level_of_sigma(math.exp(min(4 * value, _HIGHEST)) / config.get("sigma_data", 1.0))
        return min(1.0, max(0.0, value / config.get("num_train_timesteps", 1000)))

    return noise_level


def _passes_log_sigma(config: Any) -> bool:
    """EDM schedulers by their σ_data, and Euler where it is continuous and predicts v (Stable Video Diffusion)."""
    continuous = (
        config.get("timestep_type") == "continuous" and config.get("prediction_type") == "v_prediction"
    )
    return continuous or "sigma_data" in config


class _Timesteps:
    """A schedule's timesteps as numbers, fetched from the device once and not, waiting for it, in each step."""

    def __init__(self) -> None:
        self._schedule: Tensor | None = None  # held, so that no other tensor has its memory
        self._version = 0
        self._numbers: list[float] = []

    def value(self, timestep: Any, schedule: Any) -> float:
        """The first number of `timestep`, read off `schedule` where it is a part of it, as in diffusers' loops."""
        if not isinstance(timestep, Tensor):
            return float(timestep)
        if _on_host(timestep) or not _is_part(timestep, schedule):
            return float(timestep.reshape(-1)[0])
        if schedule is not self._schedule or schedule._version != self._version:
            self._schedule, self._version = schedule, schedule._version
            self._numbers = schedule.tolist()
        return float(self._numbers[timestep.storage_offset() - schedule.storage_offset()])


def _on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _is_part(timestep: Tensor, schedule: Any) -> bool:
    """Whether the first number of `timestep` is one of `schedule`'s, by where it is stored."""
    if not isinstance(schedule, Tensor) or timestep.dtype != schedule.dtype or schedule.is_inference():
        return False
    if schedule.dim() != 1 or not schedule.is_contiguous():
        return False
    if timestep.untyped_storage().data_ptr() != schedule.untyped_storage().data_ptr():
        return False
    return 0 <= timestep.storage_offset() - schedule.storage_offset() < schedule.numel()
