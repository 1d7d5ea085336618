"""From one leg's picture to the next: enlarged, and held to while the leg runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ..core.tie import shrink_noise, tie_weight, with_low_frequencies_of
from ..pipelines.families import Size, latent_scale
from ..pipelines.image_to_image import encode
from ..pipelines.out_of_memory import execution_device
from .drawing import Leg
from .pixels import to_image, to_tensor
from .super_resolution import enlarged_by
from .upscalers import is_network


def enlarged_latents(pipe: Any, picture: Image.Image | Tensor, size: Size, how: str) -> Tensor:
    """The latents, (1, channels, height / 8, width / 8), of `picture` enlarged to `size` (height, width) in pixels.

    Args:
        picture: a picture, or for the enlarging of latents those of one.
    """
    height, width = size
    if how.startswith("latent-"):
        latents = picture if isinstance(picture, Tensor) else encode(pipe, picture)
        scale = latent_scale(pipe)
        mode = how.removeprefix("latent-")
        large = interpolate(latents.float(), size=(height // scale, width // scale), mode=mode)
        return large.to(latents.dtype)
    assert isinstance(picture, Image.Image)
    if how == "lanczos":
        return encode(pipe, picture.resize((width, height), Image.Resampling.LANCZOS))
    if is_network(how):
        return encode(pipe, enlarged_by(how, picture, size, execution_device(pipe)))
    return encode(pipe, to_image(interpolate(to_tensor(picture), size=size, mode="bicubic", antialias=True)))


OnStepEnd = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def hold_to(before: Tensor, seeds: Sequence[int], leg: Leg) -> OnStepEnd | None:
    """A `callback_on_step_end` that keeps the latents near those of `before`.

    After every step it gives them a share of the low frequencies of `before`, noised alike, as DemoFusion's skip
    residual (arXiv 2311.16973, equation 5), but on the low frequencies alone, as FouriScale and FreeScale do. The noise
    is the one that the leg started with, so a deterministic sampler meets no new one. After the last step a noise
    floor shrinks what the leg has changed (`core.tie`).

    Args:
        before: the latents of the enlarged pictures, (pictures, channels, height, width).
        seeds: those of the generators which the pipeline draws each picture's noise from.
        leg: for its tie and noise floor; with neither there is nothing to do, and no callback.
    """
    tie = leg.tie
    if leg.schedule is None or ((tie is None or tie.weight == 0) and leg.noise_floor == 0):
        return None
    timesteps = leg.schedule.timesteps
    noise: Tensor | None = None

    def callback(pipe: Any, index: int, _timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal noise
        latents: Tensor = arguments["latents"]
        clean = before.to(latents)
        done = index + 1
        weight = 0.0 if tie is None or done >= len(timesteps) else tie_weight(tie, done, len(timesteps))
        if tie is not None and weight > 0:
            if noise is None:
                noise = _noise(before, seeds).to(latents)
            # `add_noise` after a step adds what the next step expects: diffusers' inpainting relies on it too.
            following = torch.tensor([timesteps[done]], device=latents.device)
            wanted = pipe.scheduler.add_noise(clean, noise, following.to(pipe.scheduler.timesteps.dtype))
            latents = with_low_frequencies_of(latents, wanted, tie.period, weight)
        if done == len(timesteps) and leg.noise_floor > 0:
            latents = clean + shrink_noise(latents - clean, leg.noise_floor)
        return arguments | {"latents": latents}

    return callback


def _noise(like: Tensor, seeds: Sequence[int]) -> Tensor:
    from diffusers.utils.torch_utils import randn_tensor

    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    return randn_tensor(like.shape, generator=generators, device=like.device, dtype=like.dtype)
