"""A large picture, leg by leg: drawn natively or given, enlarged in pixels, and drawn on at each larger size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from redilate.core.schedule import tie_weight, with_low_frequencies_of
from redilate.errors import RedilateError
from redilate.plans.defaults import LARGEST_SCALE, LARGEST_SCALE_OF_NETWORK, TIE, leg_seed
from redilate.plans.plan import count_resolution_levels

from . import exact, host
from .layout import convolutions
from .legs import Leg, legs_for, target_size
from .model import redilate_model
from .native import PIXELS_PER_LATENT, even_sigmas, family_of, native_side, noise_level


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
    start = _size_of(image, latents if drawn else None)
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
    pixels = decode(latents) if drawn and latents is not None else image
    for number, leg in enumerate(legs):
        patched = last if number + 1 == len(legs) else by_size
        own = settings | {"seed": leg_seed(seed, number)}
        if leg.from_noise and pixels is None:
            shape = (batch, 4, leg.height // PIXELS_PER_LATENT, leg.width // PIXELS_PER_LATENT)
            sigmas = host.scheduled(patched, scheduler, leg.steps)
            latents = host.sample(patched, torch.zeros(shape), sigmas, **own)
        else:
            assert pixels is not None
            before = encode(enlarged(pixels, leg, upscale_model))
            sigmas = even_sigmas(model.get_model_object("model_sampling"), leg.start, leg.steps)
            latents = host.sample(tied(patched, before, leg), before, sigmas, **own)
        pixels = decode(latents)
    assert pixels is not None
    return pixels, {"samples": latents}


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


def _size_of(image: Tensor | None, latents: Tensor | None) -> tuple[int, int] | None:
    if image is not None:
        return image.shape[1], image.shape[2]
    if latents is not None:
        return latents.shape[-2] * PIXELS_PER_LATENT, latents.shape[-1] * PIXELS_PER_LATENT
    return None


def _largest_scale(upscale_model: Any) -> float:
    """How many times larger a leg may be: with a network for four times the side, four times."""
    scale = float(getattr(upscale_model, "scale", LARGEST_SCALE))
    return min(scale, LARGEST_SCALE_OF_NETWORK) if scale > LARGEST_SCALE else LARGEST_SCALE
