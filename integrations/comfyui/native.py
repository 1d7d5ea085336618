"""What kind of model a MODEL is, the size that it was trained at, and the noise level of what it is given."""

from __future__ import annotations

from typing import Any

import torch

from redilate.core.schedule import level_of_sigma, sigma_of_level
from redilate.errors import RedilateError
from redilate.plans.defaults import Family
from redilate.plans.plan import count_resolution_levels

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


def has_buckets(base: Any) -> bool:
    """Whether a model was trained on many shapes of one area."""
    return _context(base) == _WITH_BUCKETS


def family_of(base: Any, names: list[str], sampler: str = "") -> Family:
    """The row of the table of defaults for a model, by its text's width and its levels.

    Args:
        names: its convolutions.
        sampler: the one that it is drawn with; "lcm" tells a distilled model, as ModelSamplingDiscrete's lcm does.
    """
    if sampler == "lcm" or type(base.model_sampling).__name__ == "ModelSamplingDiscreteDistilled":
        return "distilled"
    context, levels = _context(base), count_resolution_levels(names)
    if levels == 3 and context in (1280, 2048):
        return "sdxl"
    if levels == 4 and context in (768, 1024):
        return "sd15" if context == 768 else "sd21"
    return "unknown"


def noise_level(sampling: Any, sigma: Any) -> float:
    """ComfyUI's σ as a noise level in [0, 1]: the model's own timestep over their number, where it counts them.

    A rectified flow's σ is its noise level: pictures are mixed with σ parts of noise, as SD3's are.
    """
    value = sigma.reshape(-1)[:1] if hasattr(sigma, "reshape") else sigma
    if _is_flow(sampling):
        return min(1.0, max(0.0, float(value)))
    steps = getattr(sampling, "num_timesteps", None)
    if steps is None:
        return level_of_sigma(float(value))
    return min(1.0, max(0.0, float(sampling.timestep(value)) / steps))


def even_sigmas(sampling: Any, level: float, steps: int) -> torch.Tensor:
    """σ of `steps` steps spread evenly in noise level from `level` in (0, 1] down, and 0: (steps + 1,), float32.

    As the large legs have them in Python, whatever spacing the native leg has: Karras' from 0.45 would take most
    steps where there is next to no noise.
    """
    levels = [level * (1 - index / steps) for index in range(steps)]
    if _is_flow(sampling):
        sigmas = levels
    elif getattr(sampling, "num_timesteps", None) is None:
        sigmas = [sigma_of_level(each) for each in levels]
    else:
        last = sampling.num_timesteps - 1
        timesteps = [min(last, round(each * sampling.num_timesteps)) for each in levels]
        sigmas = [float(sampling.sigma(torch.tensor(float(each)))) for each in timesteps]
    return torch.tensor([*sigmas, 0.0])


def _is_flow(sampling: Any) -> bool:
    # `comfy.model_sampling.CONST` is what mixes noise in so; told by name, as tests have it from elsewhere.
    return any(kind.__name__ == "CONST" for kind in type(sampling).__mro__)


def _context(base: Any) -> int | None:
    config = getattr(getattr(base, "model_config", None), "unet_config", {})
    return config.get("context_dim")
