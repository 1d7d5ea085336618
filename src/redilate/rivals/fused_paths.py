"""What one phase of DemoFusion predicts: local paths over shifted crops, global ones over dilated samples, fused.

The equations and their names are `demofusion.py`'s.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pipelines.apply import noise_level_of
from ..pipelines.families import Size, latent_scale
from .dilated_sampling import blur, interleaved, put_together
from .installing import installing, native_latent_size
from .views import Split, View, average, predict_by_views, starts

NAME = "demofusion"
# α₂, α₃ and the blur's σ of the paper's experiments.
DILATED, BLUR, SIGMA = 1.0, 1.0, 0.8
_STRIDE = 0.5
_CLIPPING = ("clip_sample", "thresholding")


def cosine(noise_level: float, power: float) -> float:
    """((1 + cos(π (T − t) / T)) / 2)^power for t / T = `noise_level`: from 1 at pure noise to 0."""
    return ((1 + math.cos(math.pi * (1 - noise_level))) / 2) ** power


def most_shift(length: int, window: int) -> int:
    """How far crops along an axis may be shifted: a quarter of their overlap, so that neighbours go on overlapping."""
    return (window - _pace(window)) // 4 if length > window else 0


def shifted_corners(size: Size, window: Size, dice: torch.Generator) -> list[tuple[int, int]]:
    """(top, left) of crops of `window` that cover `size`, half a window apart, each shifted at random.

    A crop at a border is only shifted outwards, by up to `most_shift`: a seam never stands where it stood before.
    """

    def shifted(start: int, length: int, part: int) -> int:
        most = most_shift(length, part)
        least = 0 if start == length - part else -most
        return start + int(torch.randint(least, 1 if start == 0 else most + 1, (1,), generator=dice))

    rows, columns = (starts(length, part, _pace(part)) for length, part in zip(size, window, strict=True))
    return [
        (shifted(top, size[0], window[0]), shifted(left, size[1], window[1]))
        for top in rows
        for left in columns
    ]


def _pace(window: int) -> int:
    return max(1, round(window * _STRIDE))


def latents_in_predictions(scheduler: Any, timestep: Any) -> float:
    """How much of a prediction has the effect on the next step that one unit of the U-Net's input has.

    A step is a · latents + b · prediction (+ what does not depend on either); asked of a copy of the scheduler, so
    that it holds for every kind of prediction and noise schedule: a / (b · c), c being what the scheduler scales its
    latents by for the U-Net.
    """

    def step(prediction: float, latents: float) -> float:
        probe = copy.deepcopy(scheduler)
        # What clips is not linear; around the latents of a picture it lets through what it is given.
        probe.register_to_config(**{name: False for name in _CLIPPING if name in probe.config})
        noise = {"generator": torch.Generator().manual_seed(0)}
        known = inspect.signature(probe.step).parameters
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        extra = noise if "generator" in known else {}
        return float(probe.step(prediction * one, timestep, latents * one, **extra).prev_sample.flatten()[0])

    unit = torch.ones(1, 1, 1, 1, dtype=torch.float64)
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

    The published step takes its global part from the blurred latents. What these differ by from the pipeline's own is
    added to the prediction, in the measure that the scheduler's step will undo: exact for schedulers whose step is
    linear (DDIM, Euler and the like).

    Args:
        pipe: any diffusers pipeline with a `unet`.
        factor: s, how many times the native side the latents are.
        dilated, blurred: α₂ and α₃, the powers of the cosine that the global paths' share and their blur fall by.
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
        # The crops reach over the border by what they may be shifted: there the latents are mirrored.
        down, right = (most_shift(length, part) for length, part in zip(size, crop, strict=True))
        wider = F.pad(sample, (right, right, down, down), mode="reflect")
        places = [(top + down, left + right) for top, left in corners]
        views = [
            View(
                wider[..., place[0] : place[0] + crop[0], place[1] : place[1] + crop[1]],
                (max(top, 0) * scale, max(left, 0) * scale),
            )
            for place, (top, left) in zip(places, corners, strict=True)
        ]
        views += [View(part) for part in interleaved(soft, factor)]

        def merge(predictions: list[Tensor]) -> Tensor:
            local = average(predictions[: len(corners)], places, (wider.shape[-2], wider.shape[-1]))
            local = local[..., down : down + size[0], right : right + size[1]]
            whole = put_together(predictions[len(corners) :], factor, size)
            whole = whole + latents_in_predictions(pipe.scheduler, timestep) * (soft - sample)
            share = cosine(level, dilated)
            return share * whole + (1 - share) * local

        return Split(views, merge)

    with installing(pipe, NAME) as (unet, stack):
        predict_by_views(unet, stack, split)
        yield
