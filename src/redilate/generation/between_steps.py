"""What holds a stage's latents to the stage before: between its steps, and after the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..core.frequency import with_low_frequencies_of
from ..core.shrinkage import shrink_noise
from .stages import Stage

OnStepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def hold_to(before: Tensor, seed: int, stage: Stage, timesteps: tuple[float, ...]) -> OnStepEnd | None:
    """A `callback_on_step_end` that keeps the latents near those of `before`.

    After every step it gives them a share of the low frequencies of `before`, noised alike, as DemoFusion's skip
    residual (arXiv 2311.16973, equation 5), but on the low frequencies alone, as FouriScale and FreeScale do. The noise
    is the one that the stage started with, so a deterministic sampler meets no new one. After the last step it
    shrinks what the stage has changed (`core.shrinkage`): a network leaves a little noise of its own in plain places.

    Args:
        before: the enlarged latents of the stage before, (1, channels, height, width).
        seed: that of the generator which the pipeline draws its noise from.
        stage: for `tie`, `tie_period` and `noise_floor`; with neither tie nor floor there is nothing to do, and no
            callback.
        timesteps: those that the pipeline goes through.
    """
    if stage.tie == 0 and stage.noise_floor == 0:
        return None
    noise: Tensor | None = None

    def callback(pipe: Any, index: int, _timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal noise
        latents: Tensor = arguments["latents"]
        wanted = clean = before.to(latents)
        last = index + 1 == len(timesteps)
        if stage.tie > 0 and not last:
            if noise is None:
                noise = _noise(before, seed).to(latents)
            # `add_noise` after a step adds what the next step expects: diffusers' inpainting relies on it too.
            following = torch.tensor([timesteps[index + 1]], device=latents.device)
            wanted = pipe.scheduler.add_noise(clean, noise, _like(pipe.scheduler.timesteps, following))
        latents = with_low_frequencies_of(latents, wanted, stage.tie_period, stage.tie)
        if last and stage.noise_floor > 0:
            latents = clean + shrink_noise(latents - clean, stage.noise_floor)
        return arguments | {"latents": latents}

    return callback


def _noise(like: Tensor, seed: int) -> Tensor:
    from diffusers.utils.torch_utils import randn_tensor

    generator = torch.Generator("cpu").manual_seed(seed)
    return randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _like(timesteps: Tensor, one: Tensor) -> Tensor:
    """The scheduler's own timesteps may be whole or not; it looks them up by equality."""
    return one.to(timesteps.dtype)
