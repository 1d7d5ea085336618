"""The size that a ComfyUI model was trained at, and the noise level of what it is given."""

from __future__ import annotations

from typing import Any

from redilate.core.schedule import level_of_sigma
from redilate.errors import RedilateError
from redilate.pipelines.native import ratio_to_native

PIXELS_PER_LATENT = 8
# By the width of the text that a model takes, the one thing in its configuration that tells the families apart.
_NATIVE = {768: 512, 1024: 512, 1280: 1024, 2048: 1024}
_WITH_BUCKETS = 2048  # SDXL and its kin were trained on many shapes of one area


def native_side(base: Any, asked: int) -> int:
    """The native side in pixels of a model (ComfyUI's `BaseModel`); `asked`, what the user says, if that is not 0.

    Raises:
        RedilateError: for a model that is not known; the user has to say it.
    """
    if asked:
        return asked
    context = _context(base)
    if context not in _NATIVE:
        raise RedilateError("the native size of this model is not known; set native_size, in pixels")
    predicts_v = getattr(getattr(base, "model_type", None), "name", "") == "V_PREDICTION"
    return 768 if context == 1024 and predicts_v else _NATIVE[context]


def ratio(base: Any, latent: tuple[int, int], native: int) -> tuple[float, float]:
    """How many times the size that the network knows best latents of (height, width) are, per axis."""
    pixels = (latent[0] * PIXELS_PER_LATENT, latent[1] * PIXELS_PER_LATENT)
    return ratio_to_native(pixels, (native, native), buckets=_context(base) == _WITH_BUCKETS)


def noise_level(sampling: Any, sigma: Any) -> float:
    """ComfyUI's σ as a noise level in [0, 1]: the model's own timestep over their number, where it counts them."""
    value = sigma.reshape(-1)[:1] if hasattr(sigma, "reshape") else sigma
    steps = getattr(sampling, "num_timesteps", None)
    if steps is None:
        return level_of_sigma(float(value))
    return min(1.0, max(0.0, float(sampling.timestep(value)) / steps))


def _context(base: Any) -> int | None:
    config = getattr(getattr(base, "model_config", None), "unet_config", {})
    return config.get("context_dim")
