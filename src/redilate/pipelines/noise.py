"""From the timestep that a scheduler hands the U-Net to a noise level in [0, 1]."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch

from ..core.schedule import level_of_sigma
from .caller import call_under_way


def noise_level_of(pipe: Any) -> Callable[[Any], float]:
    """timestep → timestep / T, for the scheduler of the pipeline that is calling, else the one that `pipe` has.

    EDM-style schedulers pass 0.25 · log σ instead; σ is then looked up on Stable Diffusion's own noise schedule.
    """
    # The patch lives on the U-Net; a strong reference back would keep a discarded pipeline alive.
    owner = weakref.ref(pipe)

    def noise_level(timestep: Any) -> float:
        value = float(timestep.reshape(-1)[0]) if isinstance(timestep, torch.Tensor) else float(timestep)
        call = call_under_way()
        scheduler = getattr(owner() if call is None else call.pipeline, "scheduler", None)
        config = getattr(scheduler, "config", {})
        if _passes_log_sigma(config):
            return level_of_sigma(math.exp(4 * value))
        return min(1.0, max(0.0, value / config.get("num_train_timesteps", 1000)))

    return noise_level


def _passes_log_sigma(config: Any) -> bool:
    """EDM schedulers by their σ_data, and Euler where it is set to continuous timesteps (Stable Video Diffusion)."""
    return "sigma_data" in config or config.get("timestep_type") == "continuous"
