"""The second leg of a relay: a picture of native size is enlarged, and the rest of the schedule drawn large.

At native size a network composes as it was trained to; what is drawn large starts from that composition.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from redilate.errors import RedilateError

from .native import PIXELS_PER_LATENT, noise_level


def relay(
    model: Any, latent: dict[str, Any], sigmas: Tensor, width: int, height: int, start: float
) -> tuple[dict[str, Any], Tensor]:
    """LATENT and SIGMAS for a sampler that adds noise (SamplerCustom).

    Args:
        model: the MODEL, for its noise levels.
        latent: the picture at native size; "samples" of (B, C, H, W).
        sigmas: a whole schedule, from noise to 0.
        width, height: the target in pixels, multiples of 8.
        start: the noise level in (0, 1] at which the second leg starts.

    Returns:
        The latent at the target size (a copy; an inpainting mask does not fit any more and is left out), and what is
        left of the schedule from `start` on.

    Raises:
        RedilateError: for a size that latents cannot have, or a schedule that has nothing left below `start`.
    """
    for name, side in (("width", width), ("height", height)):
        if side <= 0 or side % PIXELS_PER_LATENT:
            raise RedilateError(f"{name} {side} is not a multiple of {PIXELS_PER_LATENT}")
    sampling = model.get_model_object("model_sampling")
    left = [float(sigma) > 0 and noise_level(sampling, sigma) <= start for sigma in sigmas]
    if True not in left:
        raise RedilateError(f"the schedule has no step at or below noise level {start:g}; take more steps")
    samples = latent["samples"]
    size = (height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    if samples.shape[-2:] != size:
        samples = F.interpolate(samples, size=size, mode="bicubic")
    kept = {key: value for key, value in latent.items() if key != "noise_mask"}
    return kept | {"samples": samples}, sigmas[left.index(True) :]
