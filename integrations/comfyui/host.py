"""What is asked of ComfyUI itself, each in one function: samplers, progress, memory, upscale models.

Its modules are imported when they are wanted: outside ComfyUI there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def sampler_names() -> list[str]:
    import comfy.samplers

    return comfy.samplers.KSampler.SAMPLERS


def scheduler_names() -> list[str]:
    import comfy.samplers

    return comfy.samplers.KSampler.SCHEDULERS


def scheduled(model: Any, scheduler: str, steps: int) -> Tensor:
    """σ of a whole denoising, (steps + 1,)."""
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)


def sample(
    model: Any,
    latents: Tensor,
    sigmas: Tensor,
    *,
    positive: Any,
    negative: Any,
    cfg: float,
    sampler: str,
    seed: int,
) -> Tensor:
    """What SamplerCustom does: noise is added to the latents and the schedule run down, with its bar and previews."""
    import comfy.sample
    import comfy.samplers
    import comfy.utils
    import latent_preview

    latents = comfy.sample.fix_empty_latent_channels(model, latents)
    return comfy.sample.sample_custom(
        model,
        comfy.sample.prepare_noise(latents, seed),
        cfg,
        comfy.samplers.sampler_object(sampler),
        sigmas,
        positive,
        negative,
        latents,
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def enlarged_by_filter(pixels: Tensor, width: int, height: int) -> Tensor:
    """Pixels (B, h, w, 3) by Lanczos' filter."""
    import comfy.utils

    moved = pixels.movedim(-1, 1)
    return comfy.utils.common_upscale(moved, width, height, "lanczos", "disabled").movedim(1, -1)


def enlarged_by_network(upscale_model: Any, pixels: Tensor) -> Tensor:
    """Pixels (B, h, w, 3) by an upscale model, as many times larger as it makes them: ComfyUI's own node does it."""
    from nodes import NODE_CLASS_MAPPINGS

    node = NODE_CLASS_MAPPINGS["ImageUpscaleWithModel"]
    made = (
        node.execute(upscale_model, pixels)
        if hasattr(node, "execute")
        else node().upscale(upscale_model, pixels)
    )
    return getattr(made, "result", made)[0]


def loaded(patcher: Any, needed: int) -> None:
    """Have a network's weights where it computes, with `needed` bytes free besides."""
    from comfy import model_management

    model_management.load_models_gpu([patcher], memory_required=needed)


def progress() -> Callable[[int, int], None]:
    """A node's bar, called with (work done, in all); raises where the user has interrupted."""
    import comfy.utils
    from comfy import model_management

    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report
