"""A stage's low frequencies tied to the stage before, between its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.frequency import with_low_frequencies_of
from .stages import Stage

OnStepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def tie_to(before: Tensor, seed: int, stage: Stage, timesteps: tuple[float, ...]) -> OnStepEnd | None:
    """A `callback_on_step_end` that gives the latents a share of the low frequencies of `before`, noised alike.

    As DemoFusion's skip residual (arXiv 2311.16973, equation 5), on the low frequencies alone, as FouriScale and
    FreeScale do. The noise is the one that the stage started with, so a deterministic sampler meets no new one.

    Args:
        before: the enlarged latents of the stage before, (1, channels, height, width).
        seed: that of the generator which the pipeline draws its noise from.
        stage: for `tie` and `tie_period`; with a `tie` of 0 there is nothing to do, and no callback.
        timesteps: those that the pipeline goes through.
    """
    if stage.tie == 0:
        return None
    noise: Tensor | None = None

    def callback(pipe: Any, index: int, _timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal noise
        latents: Tensor = arguments["latents"]
        target = before.to(latents)
        if index + 1 < len(timesteps):
            if noise is None:
                noise = _noise(before, seed).to(latents)
            # `add_noise` after a step adds what the next step expects: diffusers' inpainting relies on it too.
            following = torch.tensor([timesteps[index + 1]], device=latents.device)
            target = pipe.scheduler.add_noise(target, noise, _like(pipe.scheduler.timesteps, following))
        mixed = with_low_frequencies_of(latents, target, stage.tie_period, stage.tie)
        return arguments | {"latents": mixed}

    return callback


def _noise(like: Tensor, seed: int) -> Tensor:
    from diffusers.utils.torch_utils import randn_tensor

    generator = torch.Generator("cpu").manual_seed(seed)
    return randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _like(timesteps: Tensor, one: Tensor) -> Tensor:
    """The scheduler's own timesteps may be whole or not; it looks them up by equality."""
    return one.to(timesteps.dtype)
