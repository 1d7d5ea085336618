"""Which pipeline is calling the network just now, whether it guides, where ∅ stands in its batch, and the noise level.

A U-Net is often shared: `StableDiffusionImg2ImgPipeline.from_pipe(pipe)` makes a second pipeline around the same one,
with guidance and a scheduler of its own. The network is told neither, so the pipeline that `apply` was called on
would answer for another's call. Who is calling stands on the call stack.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ..core.guidance import GuidanceLayout
from ..core.schedule import level_of_sigma

# These put edits of their own into the batch, or call the network with parts of it: no fixed place for ∅.
_NO_FIXED_LAYOUT = ("LEdits", "Semantic", "SAG", "AttendAndExcite", "Pix2PixZero")


def guidance_of(layout: GuidanceLayout | None = None) -> Callable[[], GuidanceLayout | None]:
    """→ the layout of the call under way; None without guidance. Batch size alone could not tell.

    Args:
        layout: what to say where no pipeline of diffusers' is calling, or one that does not say whether it guides: a
            loop of the user's own, also one in a class that has a `unet` and a `scheduler` or is derived from
            `DiffusionPipeline`.
    """

    def current() -> GuidanceLayout | None:
        call = call_under_way()
        if call is None or (layout is not None and not (call.stock and call.guided is not None)):
            return layout
        return layout_of(call.pipeline) if call.guided else None

    return current


def layout_of(pipeline: Any) -> GuidanceLayout | None:
    """How a pipeline that is guiding lays out its batch; None where ∅ has no fixed place."""
    name = type(pipeline).__name__
    if any(part in name for part in _NO_FIXED_LAYOUT):
        return None
    if "InstructPix2Pix" in name:
        return GuidanceLayout(chunks=3, unconditional=2)  # [text, image, ∅]
    if getattr(pipeline, "do_perturbed_attention_guidance", False):
        return GuidanceLayout(chunks=3, unconditional=0, whole=True)  # [∅, text, perturbed]
    return GuidanceLayout(chunks=2, unconditional=0)


_FLAG = "do_classifier_free_guidance"


class Call(NamedTuple):
    """A pipeline's call under way.

    Attributes:
        pipeline: one of diffusers', or an object of another class that has a `unet` and a `scheduler` as they do.
        guided: whether the batch holds an unconditional part; None where the pipeline does not say.
        stock: whether the pipeline is one of diffusers', or of a class derived from them.
    """

    pipeline: Any
    guided: bool | None
    stock: bool


def call_under_way() -> Call | None:
    """The innermost pipeline on the call stack; None where a loop of the user's own calls the network."""
    frame, pipeline = sys._getframe(1), None
    while frame is not None:
        # Only methods can be a pipeline's; looking at locals is what costs.
        if frame.f_code.co_varnames[:1] == ("self",):
            found = frame.f_locals.get("self")
            if _is_pipeline(found) if pipeline is None else found is pipeline:
                pipeline = found
                # Older pipelines keep the flag in a variable of `__call__` rather than in a property.
                flag = getattr(found, _FLAG, None)
                guided = frame.f_locals.get(_FLAG) if flag is None else flag
                if guided is not None:
                    return Call(found, bool(guided), _is_stock(found))
        frame = frame.f_back
    return None if pipeline is None else Call(pipeline, None, _is_stock(pipeline))


def _is_pipeline(candidate: Any) -> bool:
    # Both are class attributes or instance attributes of a pipeline; a torch module has at most one of them.
    return getattr(candidate, "unet", None) is not None and hasattr(candidate, "scheduler")


def _is_stock(pipeline: Any) -> bool:
    from diffusers import DiffusionPipeline, ModularPipeline

    return isinstance(pipeline, DiffusionPipeline | ModularPipeline)


# 0.25 · log σ above which σ would be no number of a computer's; the noise is all there is far below it.
_HIGHEST = 100.0


def noise_level_of(pipe: Any) -> Callable[[Any], float]:
    """timestep → timestep / T, for the scheduler of the pipeline that is calling, else the one that `pipe` has.

    EDM-style schedulers pass 0.25 · log σ instead; σ in units of the data's own deviation, σ / σ_data, is then looked
    up on Stable Diffusion's noise schedule.
    """
    # The patch lives on the U-Net; a strong reference back would keep a discarded pipeline alive.
    owner = weakref.ref(pipe)
    known = _Timesteps()

    def noise_level(timestep: Any) -> float:
        call = call_under_way()
        scheduler = getattr(owner() if call is None else call.pipeline, "scheduler", None)
        config = getattr(scheduler, "config", {})
        value = known.value(timestep, getattr(scheduler, "timesteps", None))
        if _passes_log_sigma(config):
            return level_of_sigma(math.exp(min(4 * value, _HIGHEST)) / config.get("sigma_data", 1.0))
        return min(1.0, max(0.0, value / config.get("num_train_timesteps", 1000)))

    return noise_level


def _passes_log_sigma(config: Any) -> bool:
    """EDM schedulers by their σ_data, and Euler where it is continuous and predicts v (Stable Video Diffusion)."""
    continuous = (
        config.get("timestep_type") == "continuous" and config.get("prediction_type") == "v_prediction"
    )
    return continuous or "sigma_data" in config


class _Timesteps:
    """A schedule's timesteps as numbers, fetched from the device once and not, waiting for it, in each step."""

    def __init__(self) -> None:
        self._schedule: Tensor | None = None  # held, so that no other tensor has its memory
        self._version = 0
        self._numbers: list[float] = []

    def value(self, timestep: Any, schedule: Any) -> float:
        """The first number of `timestep`, read off `schedule` where it is a part of it, as in diffusers' loops."""
        if not isinstance(timestep, Tensor):
            return float(timestep)
        if _on_host(timestep) or not _is_part(timestep, schedule):
            return float(timestep.reshape(-1)[0])
        if schedule is not self._schedule or schedule._version != self._version:
            self._schedule, self._version = schedule, schedule._version
            self._numbers = schedule.tolist()
        return float(self._numbers[timestep.storage_offset() - schedule.storage_offset()])


def _on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _is_part(timestep: Tensor, schedule: Any) -> bool:
    """Whether the first number of `timestep` is one of `schedule`'s, by where it is stored."""
    if not isinstance(schedule, Tensor) or timestep.dtype != schedule.dtype or schedule.is_inference():
        return False
    if schedule.dim() != 1 or not schedule.is_contiguous():
        return False
    if timestep.untyped_storage().data_ptr() != schedule.untyped_storage().data_ptr():
        return False
    return 0 <= timestep.storage_offset() - schedule.storage_offset() < schedule.numel()
