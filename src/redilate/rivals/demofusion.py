"""DemoFusion: Du et al., "DemoFusion: Democratising High-Resolution Image Generation With No $$$", CVPR 2024,
arXiv 2311.16973.

- Progressive upscaling. A picture of the native size is enlarged in phases, by one native side each. A phase begins
  with the latents of the one before, bicubically enlarged, z′₀, and all its noise levels z′_t.
- Skip residual. Before each step ẑ_t = c₁ z′_t + (1 − c₁) z_t, with c₁ = ((1 + cos(π (T − t) / T)) / 2)^α₁.
- Local paths. Overlapping crops of the native size, shifted at random, are denoised each on its own and averaged.
- Dilated sampling. Blurred latents are cut into s² interleaved ones of the native size, which are denoised on their
  own: the global paths. The step is c₂ global + (1 − c₂) local, with c₂ as c₁ and α₂.

No loop is copied: each phase is a call of the pipeline. The paths are views of its U-Net (`fused_paths.py`), the skip
residual its callback.
"""

from __future__ import annotations

import inspect
import math
import time
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import RedilateError
from ..generation.generate import generate
from ..generation.run import Generation, OnStep, SafetyStopped
from ..pipelines.apply import check_size, noise_level_of
from ..pipelines.families import Size, defaults_family, latent_scale
from ..pipelines.families import native_size as native_size_of
from ..pipelines.prompts import encode_prompts
from ..pipelines.support import blacked_out, check_text_to_image
from ..plans.defaults import DEFAULTS
from .fused_paths import BLUR, DILATED, NAME, SIGMA, cosine, fused_paths
from .installing import settings_of_rival

SKIP = 3.0  # α₁ of the paper's experiments; the other settings are `fused_paths`'


def phases(size: Size, native: Size, scale: int) -> list[Size]:
    """The sizes (height, width) in pixels that a picture of `size` passes through, the native one first.

    All have the shape of `size`, as nearly as multiples of `scale` allow; the first has one side at its native length.
    """
    longest = max(size[0] / native[0], size[1] / native[1])
    smaller = [
        tuple(max(scale, round(side * phase / longest / scale) * scale) for side in size)
        for phase in range(1, math.ceil(longest))
    ]
    return [*((height, width) for height, width in smaller), size]


def draw(
    pipe: Any,
    prompt: str,
    *,
    width: int,
    height: int,
    seed: int = 0,
    steps: int = 25,
    guidance: float | None = None,
    negative: str | None = None,
    on_step: OnStep | None = None,
    skip: float = SKIP,
    dilated: float = DILATED,
    blurred: float = BLUR,
    sigma: float = SIGMA,
    native_size: int | Size | None = None,
) -> Generation:
    """One picture with DemoFusion, in as many phases as the native side goes into it.

    Args:
        skip: α₁, the power of the cosine that the skip residual falls by; the rest as for `fused_paths` and
            `generation.generate`. `steps` is for each phase.

    Raises:
        RedilateError: for anything that cannot be done, before any work.
    """
    check_text_to_image(pipe)
    scale = latent_scale(pipe)
    check_size(width, height, scale)
    sizes = phases((height, width), native_size_of(pipe, native_size), scale)
    if guidance is None:
        guidance = DEFAULTS[defaults_family(pipe)].guidance
    parameters = {"skip": skip, "dilated": dilated, "blurred": blurred, "sigma": sigma}
    asked = {
        "seed": seed, "steps": steps, "guidance": guidance, "negative": negative, "width": width, "height": height,
    }  # fmt: skip
    settings = settings_of_rival(pipe, NAME, parameters, prompt=prompt, **asked)
    if len(sizes) == 1:
        made = generate(pipe, prompt, **asked, method="direct", native_size=native_size, on_step=on_step)
        return replace(made, settings=settings)
    _check(pipe, prompt, steps)
    started = time.monotonic()
    texts = encode_prompts(pipe, prompt, negative)
    noise = torch.Generator("cpu").manual_seed(seed)

    def call(phase: int, residual: _Residual | None) -> Any:
        """One phase: the pipeline's own call; its latents, or the pictures of the last one."""

        def report(_: Any, index: int, __: Any, tensors: dict) -> dict:
            if on_step is not None:
                on_step(phase * steps + index + 1, len(sizes) * steps)
            if residual is None:
                return tensors
            return tensors | {"latents": residual.before(index + 1, tensors["latents"])}

        result = pipe(
            **texts,
            width=sizes[phase][1],
            height=sizes[phase][0],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=noise,
            latents=None if residual is None else residual.first(),
            callback_on_step_end=report,
            output_type="pil" if phase + 1 == len(sizes) else "latent",
        )
        if blacked_out(result):
            raise SafetyStopped
        return result.images

    made = call(0, None)
    powers = {"dilated": dilated, "blurred": blurred, "sigma": sigma, "native_size": native_size}
    for phase in range(1, len(sizes)):
        size = (sizes[phase][0] // scale, sizes[phase][1] // scale)
        with fused_paths(pipe, phase + 1, seed=seed + phase, **powers):
            made = call(phase, _Residual(pipe, made, size, steps, skip, noise))
    return Generation(list(made), [seed], None, time.monotonic() - started, settings)


class _Residual:
    """The latents of the phase before, enlarged, at every noise level of this phase.

    Args:
        latents: (B, C, h, w), free of noise.
        size: (height, width) of this phase's latents.
        steps: of this phase.
        power: α₁.
    """

    def __init__(
        self, pipe: Any, latents: Tensor, size: Size, steps: int, power: float, dice: torch.Generator
    ):
        self._scheduler = pipe.scheduler
        self._level_at = noise_level_of(pipe)
        self._power = power
        self._scheduler.set_timesteps(steps, device=latents.device)
        self._clean = F.interpolate(latents.float(), size=size, mode="bicubic", align_corners=False).to(
            latents.dtype
        )
        noise = torch.randn(self._clean.shape, generator=dice, dtype=torch.float32)
        self._noise = noise.to(latents.device, latents.dtype)

    def first(self) -> Tensor:
        """What the phase begins with, as a pipeline takes its `latents`: before its own scaling of the noise."""
        return self._at(0) / self._scheduler.init_noise_sigma

    def before(self, index: int, latents: Tensor) -> Tensor:
        """The latents that step `index` is to start from; unchanged behind the last step."""
        if index >= len(self._scheduler.timesteps):
            return latents
        share = cosine(self._level_at(self._scheduler.timesteps[index]), self._power)
        return share * self._at(index).to(latents.dtype) + (1 - share) * latents

    def _at(self, index: int) -> Tensor:
        timestep = self._scheduler.timesteps[index : index + 1]
        return self._scheduler.add_noise(self._clean, self._noise, timestep)


def _check(pipe: Any, prompt: str, steps: int) -> None:
    if not isinstance(prompt, str):
        raise RedilateError(f"the prompt is one text, not {type(prompt).__name__}; call draw once for each")
    if steps < 1:
        raise RedilateError(f"steps is {steps}; at least 1 is needed")
    missing = {"latents", "callback_on_step_end"} - set(inspect.signature(pipe.__call__).parameters)
    if missing:
        raise RedilateError(f"{type(pipe).__name__} takes no {min(missing)}, which DemoFusion's phases need")
