"""A large picture, leg by leg, as in Python's `generate`: drawn natively or given, enlarged in pixels, and drawn on at
each larger size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from redilate.core.schedule import tie_weight, with_low_frequencies_of
from redilate.errors import RedilateError
from redilate.plans.defaults import (
    DEFAULTS,
    LARGEST_SCALE,
    LARGEST_SCALE_OF_NETWORK,
    TIE,
    Family,
    leg_seed,
    leg_sizes,
    leg_steps,
    native_start,
    strengths,
)
from redilate.plans.plan import count_resolution_levels

from . import exact, host
from .layout import convolutions
from .model import redilate_model
from .native import PIXELS_PER_LATENT, even_sigmas, family_of, native_side, noise_level

Size = tuple[int, int]


@dataclass(frozen=True)
class Leg:
    """One denoising at one size.

    Attributes:
        width, height: in pixels.
        start: the noise level in (0, 1] that it starts at; 1: pure noise.
        steps: denoising steps.
    """

    width: int
    height: int
    start: float
    steps: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}: {self.steps} steps from noise level {self.start:.2f}"


def draw(
    model: Any,
    vae: Any,
    positive: Any,
    negative: Any,
    *,
    width: int,
    height: int,
    scale: float,
    strength: float,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    seed: int,
    image: Tensor | None = None,
    latent: dict[str, Any] | None = None,
    upscale_model: Any = None,
    native_size: int = 0,
    plan: str = "",
) -> tuple[Tensor, dict[str, Any]]:
    """Draw large pictures, or enlarge some by drawing.

    Args:
        model, vae, positive, negative: as for ComfyUI's KSampler.
        width, height: in pixels; 0: from `scale`.
        scale: times the picture's size, or the native one.
        strength: the noise level in (0, 1] that the first large leg starts at.
        steps, cfg, sampler_name, scheduler, seed: as for KSampler; a large leg takes its share of the steps, spread
            evenly in noise level.
        image: pictures to enlarge, (B, H, W, 3).
        latent: those of pictures to enlarge; empty ones say how many are drawn from noise.
        upscale_model: what enlarges pixels between legs; None: Lanczos' filter.
        native_size, plan: as for `redilate_model`; the plan is that of the last leg.

    Returns:
        (IMAGE, LATENT) at full size.

    Raises:
        RedilateError: for what cannot be done, before any sampling.
    """
    if image is not None and latent is not None:
        raise RedilateError("image and latent were both given; leave one of them out")
    names = list(convolutions(model.model.diffusion_model))
    native, family = native_side(model.model, native_size), family_of(model.model, names, sampler_name)
    latents = None if latent is None else latent["samples"]
    drawn = latents is not None and bool(torch.count_nonzero(latents))
    start = None if image is None else (image.shape[1], image.shape[2])
    if drawn:
        start = latents.shape[-2] * PIXELS_PER_LATENT, latents.shape[-1] * PIXELS_PER_LATENT
    legs = legs_for(
        family,
        native,
        target=target_size(start or (native, native), width, height, scale),
        start=start,
        strength=strength,
        steps=steps,
        largest_scale=_largest_scale(upscale_model),
        unit=PIXELS_PER_LATENT * 2 ** (count_resolution_levels(names) - 1),
    )
    by_size = redilate_model(model, native_size)
    last = redilate_model(model, native_size, plan) if plan.strip() else by_size
    logging.info("Redilate: %s", "; ".join(map(str, legs)))
    settings = {"positive": positive, "negative": negative, "cfg": cfg, "sampler": sampler_name}
    decode, encode = _autoencoder(vae)
    batch = 1 if latents is None else latents.shape[0]
    pixels = decode(latents) if drawn else image
    for number, leg in enumerate(legs):
        patched = last if number + 1 == len(legs) else by_size
        own = settings | {"seed": leg_seed(seed, number)}
        if pixels is None:
            shape = (batch, 4, leg.height // PIXELS_PER_LATENT, leg.width // PIXELS_PER_LATENT)
            sigmas = host.scheduled(patched, scheduler, leg.steps)
            latents = host.sample(patched, torch.zeros(shape), sigmas, **own)
        else:
            before = encode(enlarged(pixels, leg, upscale_model))
            sigmas = even_sigmas(model.get_model_object("model_sampling"), leg.start, leg.steps)
            latents = host.sample(tied(patched, before, leg), before, sigmas, **own)
        pixels = decode(latents)
    return pixels, {"samples": latents}


def target_size(start: Size, width: int, height: int, scale: float) -> Size:
    """(height, width) in pixels: as asked for; a side of 0 follows from the other or, with both 0, from `scale`.

    Raises:
        RedilateError: for sides that latents cannot have.
    """
    for name, side in (("width", width), ("height", height)):
        if side < 0 or side % PIXELS_PER_LATENT:
            raise RedilateError(
                f"{name} is {side}; a multiple of {PIXELS_PER_LATENT} works, or 0: from the scale"
            )
    if not width and not height:
        return _whole(start[0] * scale), _whole(start[1] * scale)
    return height or _whole(start[0] * width / start[1]), width or _whole(start[1] * height / start[0])


def legs_for(
    family: Family,
    native: int,
    *,
    target: Size,
    start: Size | None,
    strength: float,
    steps: int,
    largest_scale: float,
    unit: int,
) -> list[Leg]:
    """The legs that lead to `target`, from the smallest.

    Args:
        family: whose defaults hold.
        native: the native side in pixels.
        target: (height, width) in pixels.
        start: that of the picture to enlarge; None: it is drawn from noise, natively first if it is large.
        strength: the noise level in (0, 1] that the first large leg starts at; 1: everything at full size.
        steps: of a whole denoising; a large leg takes its share.
        largest_scale: how many times larger a leg is than the one before at most.
        unit: in pixels; sides between the first and the last are multiples of it.

    Raises:
        RedilateError: if there is nothing to enlarge.
    """
    square = (native, native)
    legs = []
    if start is None:
        start = native_start(target, square, unit)
        if strength >= 1 or start is None:
            return [Leg(target[1], target[0], 1.0, steps)]
        legs = [Leg(start[1], start[0], 1.0, steps)]
    sizes = leg_sizes(start, target, square, largest_scale, unit)
    if not sizes:
        raise RedilateError(
            f"the picture is {start[1]}x{start[0]} and {target[1]}x{target[0]} was asked for; a larger size works"
        )
    levels = strengths(strength, len(sizes), family)
    for (height, width), level in zip(sizes, levels, strict=True):
        legs.append(Leg(width, height, level, leg_steps(steps, level, DEFAULTS[family])))
    return legs


def enlarged(pixels: Tensor, leg: Leg, upscale_model: Any = None) -> Tensor:
    """Pixels (B, h, w, 3) at a leg's size: by the network until they are as large, the rest by Lanczos' filter."""
    if getattr(upscale_model, "scale", 1) > 1:
        while pixels.shape[1] < leg.height or pixels.shape[2] < leg.width:
            pixels = host.enlarged_by_network(upscale_model, pixels)
    if pixels.shape[1:3] == (leg.height, leg.width):
        return pixels
    return host.enlarged_by_filter(pixels, leg.width, leg.height)


def tied(model: Any, before: Tensor, leg: Leg) -> Any:
    """A copy of a MODEL that is held to the latents `before`: by a share of their low frequencies at each step.

    The share falls along a half cosine to nothing at half of the leg. It is given to the network's picture of the
    noiseless latents, as ScaleDiff and DiffuseHigh do, and not to the noisy ones between steps, as Python's `generate`
    does: there is no such place in ComfyUI's samplers. With a share of 1 both leave the same low frequencies.
    """
    held = model.clone()

    def hold(args: dict[str, Any]) -> Tensor:
        base, picture = args["model"], args["denoised"]
        level = noise_level(base.model_sampling, args["sigma"])
        way = 1 - level / leg.start + 1 / leg.steps  # at this step's end
        weight = tie_weight(TIE, min(1.0, max(0.0, way)), 1.0)
        if weight == 0:
            return picture
        wanted = base.process_latent_in(before.to(picture))
        return with_low_frequencies_of(picture, wanted, TIE.period, weight)

    held.set_model_sampler_post_cfg_function(hold)
    return held


def _autoencoder(vae: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Its decoding and encoding: exact, or its own where it is not of the kind that can be run in strips."""
    try:
        exact.check(vae)
    except RedilateError as error:
        logging.info("Redilate: %s: its own decoding is used, which may be in tiles", error)
        return vae.decode, vae.encode
    return partial(exact.decode, vae), partial(exact.encode, vae)


def _largest_scale(upscale_model: Any) -> float:
    """How many times larger a leg may be: with a network for four times the side, four times."""
    scale = float(getattr(upscale_model, "scale", LARGEST_SCALE))
    return min(scale, LARGEST_SCALE_OF_NETWORK) if scale > LARGEST_SCALE else LARGEST_SCALE


def _whole(side: float) -> int:
    return max(PIXELS_PER_LATENT, round(side / PIXELS_PER_LATENT) * PIXELS_PER_LATENT)
