"""DemoFusion: Du et al., "DemoFusion: Democratising High-Resolution Image Generation With No $$$", CVPR 2024,
arXiv 2311.16973.

- Progressive upscaling. A picture of the native size is enlarged in phases, by one native side each. A phase starts
  from the phase before, bicubically enlarged: z′₀, and noised z′_t.
- Skip residual. Before each step ẑ_t = c₁ z′_t + (1 − c₁) z_t, with c₁ = ((1 + cos(π (T − t) / T)) / 2)^α₁.
- Local paths. Overlapping crops of the native size, shifted at random, are denoised separately and averaged.
- Dilated sampling. Blurred latents are split into s² interleaved ones of the native size, which are denoised
separately: the global paths. The step is c₂ global + (1 − c₂) local, with c₂ as c₁ and α₂.

Each phase is one call of the pipeline. The paths are views of its U-Net, and the skip residual is its callback.
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import RedilateError
from ..generation.drawing import versions
from ..generation.generate import generate
from ..generation.run import Generation, OnStep, SafetyStopped
from ..pipelines.apply import check_size, noise_level_of
from ..pipelines.families import Size, defaults_family, latent_scale
from ..pipelines.families import native_size as native_size_of
from ..pipelines.prompts import encode_prompts
from ..pipelines.support import blacked_out, check_text_to_image
from ..plans.defaults import DEFAULTS
from .installing import installing, native_latent_size
from .multidiffusion import Split, View, average, predict_by_views, starts

# α₁, α₂, α₃ and the blur's σ of the paper's experiments.
SKIP, DILATED, BLUR, SIGMA = 3.0, 1.0, 1.0, 0.8
_STRIDE = 0.5
_CLIPPING = ("clip_sample", "thresholding")


def phases(size: Size, native: Size, scale: int) -> list[Size]:
    """The sizes (height, width) in pixels of all phases, the native one first.

    All have about the shape of `size`, in multiples of `scale`; the first has one side of native length.
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
    """One picture with DemoFusion.

    Args:
        skip: α₁, the power of the skip residual's cosine; the rest as for `fused_paths` and `generation.generate`.
            `steps` is for each phase.
    """
    check_text_to_image(pipe)
    scale = latent_scale(pipe)
    check_size(width, height, scale)
    sizes = phases((height, width), native_size_of(pipe, native_size), scale)
    if guidance is None:
        guidance = DEFAULTS[defaults_family(pipe)].guidance
    powers = {"dilated": dilated, "blurred": blurred, "sigma": sigma}
    size = {"width": width, "height": height}
    asked = {"seed": seed, "steps": steps, "guidance": guidance, "negative": negative, **size}
    settings = {
        "prompt": prompt,
        **asked,
        "method": "demofusion",
        "parameters": {"skip": skip, **powers},
        "scheduler": type(pipe.scheduler).__name__,
        "versions": versions(),
    }
    if len(sizes) == 1:
        made = generate(pipe, prompt, **asked, method="direct", native_size=native_size, on_step=on_step)
        return replace(made, settings=settings)
    if not isinstance(prompt, str):
        raise RedilateError(f"the prompt is one text, not {type(prompt).__name__}; call draw once for each")
    if steps < 1:
        raise RedilateError(f"steps is {steps}; at least 1 is needed")
    missing = {"latents", "callback_on_step_end"} - set(inspect.signature(pipe.__call__).parameters)
    if missing:
        raise RedilateError(f"{type(pipe).__name__} takes no {min(missing)}, which DemoFusion's phases need")
    started = time.monotonic()
    texts = encode_prompts(pipe, prompt, negative)
    noise = torch.Generator("cpu").manual_seed(seed)

    def call(phase: int, residual: _Residual | None) -> Any:
        """One phase, a call of the pipeline: its latents, or the last phase's pictures."""

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
    for phase in range(1, len(sizes)):
        latent_size = (sizes[phase][0] // scale, sizes[phase][1] // scale)
        with fused_paths(pipe, phase + 1, seed=seed + phase, native_size=native_size, **powers):
            made = call(phase, _Residual(pipe, made, latent_size, steps, skip, noise))
    return Generation(list(made), [seed], None, time.monotonic() - started, settings)


class _Residual:
    """The latents (B, C, h, w) of the phase before, enlarged, at every noise level of this phase; `power` is α₁."""

    def __init__(
        self, pipe: Any, latents: Tensor, size: Size, steps: int, power: float, dice: torch.Generator
    ):
        self._scheduler = pipe.scheduler
        self._level_at = noise_level_of(pipe)
        self._power = power
        self._scheduler.set_timesteps(steps, device=latents.device)
        clean = F.interpolate(latents.float(), size=size, mode="bicubic", align_corners=False)
        self._clean = clean.to(latents.dtype)
        self._noise = torch.randn(clean.shape, generator=dice).to(latents.device, latents.dtype)

    def first(self) -> Tensor:
        """The phase's first latents as a pipeline's argument, before it scales the noise."""
        return self._at(0) / self._scheduler.init_noise_sigma

    def before(self, index: int, latents: Tensor) -> Tensor:
        """The latents before step `index`; unchanged after the last step."""
        if index >= len(self._scheduler.timesteps):
            return latents
        share = cosine(self._level_at(self._scheduler.timesteps[index]), self._power)
        return share * self._at(index).to(latents.dtype) + (1 - share) * latents

    def _at(self, index: int) -> Tensor:
        timestep = self._scheduler.timesteps[index : index + 1]
        return self._scheduler.add_noise(self._clean, self._noise, timestep)


def cosine(noise_level: float, power: float) -> float:
    """((1 + cos(π (T − t) / T)) / 2)^power for t / T = `noise_level`: from 1 at pure noise to 0."""
    return ((1 + math.cos(math.pi * (1 - noise_level))) / 2) ** power


def most_shift(length: int, window: int) -> int:
    """The largest shift of a crop along an axis: a quarter of the overlap, so that neighbours still overlap."""
    return (window - _pace(window)) // 4 if length > window else 0


def shifted_corners(size: Size, window: Size, dice: torch.Generator) -> list[tuple[int, int]]:
    """(top, left) of crops of `window` that cover `size`, half a window apart, each shifted at random.

    A crop at a border is only shifted outwards, by up to `most_shift`.
    """

    def shifted(start: int, length: int, part: int) -> int:
        most = most_shift(length, part)
        least = 0 if start == length - part else -most
        return start + int(torch.randint(least, 1 if start == 0 else most + 1, (1,), generator=dice))

    rows, columns = (starts(length, part, _pace(part)) for length, part in zip(size, window, strict=True))
    return [
        (shifted(top, size[0], window[0]), shifted(left, size[1], window[1]))
        for top, left in product(rows, columns)
    ]


def _pace(window: int) -> int:
    return max(1, round(window * _STRIDE))


def blur(latents: Tensor, factor: int, sigma: float) -> Tensor:
    """Gaussian blur with a kernel of 2 · factor − 1 taps a side, keeping each picture's mean and deviation."""
    taps = torch.arange(1 - factor, factor, dtype=torch.float32, device=latents.device)
    line = torch.exp(-(taps**2) / (2 * sigma**2))
    line = line / line.sum()
    channels, reach = latents.shape[1], factor - 1
    padded = F.pad(latents.float(), (reach,) * 4, mode="replicate")
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    soft = F.conv2d(padded, kernel, groups=channels)
    axes, was = (1, 2, 3), latents.float()
    soft = (soft - soft.mean(axes, True)) / soft.std(axes, keepdim=True)
    return (soft * was.std(axes, keepdim=True) + was.mean(axes, True)).to(latents.dtype)


def interleaved(latents: Tensor, factor: int) -> list[Tensor]:
    """Every `factor`-th pixel from each of factor² offsets, row by row, without empty ones."""
    offsets = product(range(factor), repeat=2)
    parts = [latents[..., row::factor, column::factor] for row, column in offsets]
    return [part for part in parts if part.numel()]


def put_together(parts: list[Tensor], factor: int, size: Size) -> Tensor:
    """The inverse of `interleaved`, for a tensor of `size` (height, width)."""
    whole = parts[0].new_empty((*parts[0].shape[:2], *size))
    for part, place in zip(parts, interleaved(whole, factor), strict=True):
        place.copy_(part)
    return whole


def latents_in_predictions(scheduler: Any, timestep: Any) -> float:
    """The change of the prediction that affects a step as much as one unit of the U-Net's input.

    A step is a · latents + b · prediction + constant, and the U-Net's input is c · latents: a / (b · c), measured on a
    copy of the scheduler, so that it holds for every kind of prediction and noise schedule.
    """
    unit = torch.ones(1, 1, 1, 1, dtype=torch.float64)

    def step(prediction: float, latents: float) -> float:
        probe = copy.deepcopy(scheduler)
        # Clipping is not linear, and has no effect near a picture's latents.
        probe.register_to_config(**{name: False for name in _CLIPPING if name in probe.config})
        noise = {"generator": torch.Generator().manual_seed(0)}
        extra = noise if "generator" in inspect.signature(probe.step).parameters else {}
        return float(
            probe.step(prediction * unit, timestep, latents * unit, **extra).prev_sample.flatten()[0]
        )

    scaled = float(copy.deepcopy(scheduler).scale_model_input(unit, timestep).flatten()[0])
    neither = step(0, 0)
    return (step(0, 1) - neither) / ((step(1, 0) - neither) * scaled)


@contextmanager
def fused_paths(
    pipe: Any,
    factor: int,
    *,
    dilated: float = DILATED,
    blurred: float = BLUR,
    sigma: float = SIGMA,
    seed: int = 0,
    native_size: int | Size | None = None,
) -> Iterator[None]:
    """Have a pipeline's U-Net predict through DemoFusion's local and global paths.

    The published step has its global part from the blurred latents. Here their difference from the pipeline's latents
    is added to the prediction, scaled by `latents_in_predictions`: exact for schedulers with linear steps (DDIM,
    Euler).

    Args:
        factor: s, the latents' side over the native side.
        dilated, blurred: α₂ and α₃, the powers of the cosine for the global paths' share and their blur.
        sigma: of the blur at pure noise, in latents.
        seed: of the crops' shifts.
        native_size: as for `redilate.apply`.

    Raises:
        RedilateError: see `installing`.
    """
    window = native_latent_size(pipe, native_size)
    scale, level_at = latent_scale(pipe), noise_level_of(pipe)
    dice = torch.Generator().manual_seed(seed)

    def split(sample: Tensor, timestep: Any) -> Split | None:
        size = (sample.shape[-2], sample.shape[-1])
        crop = (min(window[0], size[0]), min(window[1], size[1]))
        if crop == size:
            return None
        level = level_at(timestep)
        corners = shifted_corners(size, crop, dice)
        soft = blur(sample, factor, sigma * (0.99 * cosine(level, blurred) + 0.01))
        # Shifted crops reach over the border, where the latents are mirrored.
        down, right = (most_shift(length, part) for length, part in zip(size, crop, strict=True))
        wider = F.pad(sample, (right, right, down, down), mode="reflect")
        places = [(top + down, left + right) for top, left in corners]
        views = [
            View(wider[..., y : y + crop[0], x : x + crop[1]], (max(top, 0) * scale, max(left, 0) * scale))
            for (y, x), (top, left) in zip(places, corners, strict=True)
        ]
        views += [View(part) for part in interleaved(soft, factor)]

        def merge(predictions: list[Tensor]) -> Tensor:
            local = average(predictions[: len(corners)], places, (wider.shape[-2], wider.shape[-1]))
            local = local[..., down : down + size[0], right : right + size[1]]
            whole = put_together(predictions[len(corners) :], factor, size)
            whole = whole + latents_in_predictions(pipe.scheduler, timestep) * (soft - sample)
            share = cosine(level, dilated)
            return share * whole + (1 - share) * local

        return views, merge

    with installing(pipe, "demofusion") as (unet, stack):
        predict_by_views(unet, stack, split)
        yield
