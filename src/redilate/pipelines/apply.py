"""`apply` re-dilates a pipeline, `remove` undoes it without a trace; `Plans` has a U-Net's plan for each size.

Pipelines often share a U-Net: `StableDiffusionImg2ImgPipeline.from_pipe(pipe)` makes a second pipeline around it, with
its own guidance and scheduler. The network's arguments name neither, so each call looks for its pipeline on the call
stack, and asks that one for its guidance layout and noise level.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from ..core.guidance import GuidanceLayout
from ..core.patch import Patch, PatchContext, find_patch
from ..core.schedule import Shape, level_of_sigma
from ..errors import RedilateError
from ..plans.defaults import Family, Preset, default_windows, preset_plan
from ..plans.plan import Changes, NoiseDamping, Plan, Windows
from ..plans.published import Family as PublishedFamily
from .families import (
    Size,
    controlnets_of,
    defaults_family,
    family_of,
    knows_buckets,
    latent_scale,
    native_size,
    prediction_channels,
    ratio_to_native,
    unet_of,
    unwrap,
)
from .support import redilatable, windowable

# These add edits to the batch, or call the network with parts of it: ∅ has no fixed place.
_NO_FIXED_LAYOUT = ("LEdits", "Semantic", "SAG", "AttendAndExcite", "Pix2PixZero")


def guidance_of(layout: GuidanceLayout | None = None) -> Callable[[], GuidanceLayout | None]:
    """→ the guidance layout of the current call; None without guidance.

    Args:
        layout: the answer for calls by a loop of the user's own, also one in a class that has a `unet` and a
            `scheduler` or derives from `DiffusionPipeline`.
    """

    def current() -> GuidanceLayout | None:
        call = call_under_way()
        if call is None or (layout is not None and not (call.stock and call.guided is not None)):
            return layout
        return layout_of(call.pipeline) if call.guided else None

    return current


def layout_of(pipeline: Any) -> GuidanceLayout | None:
    """The batch layout of a pipeline with guidance; None if ∅ has no fixed place."""
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
    """A pipeline's current call.

    Attributes:
        pipeline: one of diffusers', or another object with a `unet` and a `scheduler`.
        guided: whether the batch has an unconditional part; None if the pipeline does not say.
        stock: whether the pipeline's class is diffusers' or derives from one.
    """

    pipeline: Any
    guided: bool | None
    stock: bool


def call_under_way() -> Call | None:
    """The innermost pipeline on the call stack; None if there is none."""
    frame, pipeline = sys._getframe(1), None
    while frame is not None:
        # Only methods can be a pipeline's, and reading locals is slow.
        if frame.f_code.co_varnames[:1] == ("self",):
            found = frame.f_locals.get("self")
            if _is_pipeline(found) if pipeline is None else found is pipeline:
                pipeline = found
                # In older pipelines the flag is a variable of `__call__` and not a property.
                flag = getattr(found, _FLAG, None)
                guided = frame.f_locals.get(_FLAG) if flag is None else flag
                if guided is not None:
                    return Call(found, bool(guided), _is_stock(found))
        frame = frame.f_back
    return None if pipeline is None else Call(pipeline, None, _is_stock(pipeline))


def _is_pipeline(candidate: Any) -> bool:
    # A torch module has at most one of them.
    return getattr(candidate, "unet", None) is not None and hasattr(candidate, "scheduler")


def _is_stock(pipeline: Any) -> bool:
    from diffusers import DiffusionPipeline, ModularPipeline

    return isinstance(pipeline, DiffusionPipeline | ModularPipeline)


# Bound for log σ, against overflow.
_HIGHEST = 100.0


def noise_level_of(pipe: Any) -> Callable[[Any], float]:
    """timestep → timestep / T, by the scheduler of the calling pipeline, or else of `pipe`.

    EDM-style schedulers pass 0.25 · log σ instead: σ / σ_data is then looked up on Stable Diffusion's noise schedule.
    """
    # A strong reference from the U-Net's patch would keep a discarded pipeline alive.
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
    """EDM schedulers, which have a σ_data, and continuous Euler with v-prediction (Stable Video Diffusion)."""
    continuous = (
        config.get("timestep_type") == "continuous" and config.get("prediction_type") == "v_prediction"
    )
    return continuous or "sigma_data" in config


class _Timesteps:
    """A schedule's timesteps as numbers, read from the device once and not, with a wait, in each step."""

    def __init__(self) -> None:
        self._schedule: Tensor | None = None  # kept alive, so that no other tensor has its address
        self._version = 0
        self._numbers: list[float] = []

    def value(self, timestep: Any, schedule: Any) -> float:
        """The first number of `timestep`, from `schedule` if it is a view of that, as in diffusers' loops."""
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
    """Whether the first number of `timestep` is stored in `schedule`."""
    if not isinstance(schedule, Tensor) or timestep.dtype != schedule.dtype or schedule.is_inference():
        return False
    if schedule.dim() != 1 or not schedule.is_contiguous():
        return False
    if timestep.untyped_storage().data_ptr() != schedule.untyped_storage().data_ptr():
        return False
    return 0 <= timestep.storage_offset() - schedule.storage_offset() < schedule.numel()


class Plans:
    """The plans for a U-Net by size. Holds no reference to the pipeline, which its U-Net may outlive.

    Args:
        pipe: a pipeline, or its U-Net (with 8 pixels per latent).
        native: as for `redilate.apply`.
        preset: which defaults.
        family: whose defaults; None: the pipeline's.

    Raises:
        RedilateError: for a U-Net that cannot be re-dilated, or whose native size is unknown.
    """

    def __init__(
        self,
        pipe: Any,
        native: int | Size | None = None,
        preset: Preset = "default",
        family: Family | None = None,
    ):
        unet = unet_of(pipe)
        self._names = list(redilatable(unet))
        self._scale = latent_scale(pipe)
        self._native = native_size(pipe, native)
        self._preset: Preset = preset
        self._family: Family = family or defaults_family(pipe)
        self._published: PublishedFamily | None = family_of(unet)
        self._buckets = knows_buckets(unet)
        self._attention = {name: level for name, (_, level) in windowable(unet).items()}
        self._class = type(unet).__name__

    def for_latents(self, size: Size) -> Plan:
        """The plan for latents of `size` (height, width), from pure noise."""
        return self.for_pixels((size[0] * self._scale, size[1] * self._scale), whole=True)

    def for_pixels(self, size: Size, *, whole: bool) -> Plan:
        """The plan for a picture of `size` (height, width); `whole`: from pure noise at that size."""
        return preset_plan(self._names, self._family, self._published, self._ratio(size), self._preset, whole)

    def with_windows(self, plan: Plan, size: Size, below: float) -> Plan:
        """`plan` with windows below a noise level, for a picture of `size` (height, width); see
        `plans.defaults.default_windows`.
        """
        if not self._attention:
            raise RedilateError(
                f"{self._class} has no self-attention to look through windows; leave windows out"
            )
        if not 0 <= below <= 1:
            raise RedilateError(f"windows is {below:g}; it is a noise level from 0 to 1, such as 0.5")
        latents = (size[0] // self._scale, size[1] // self._scale)
        windows: Windows | None = default_windows(self._attention, latents, self._ratio(size), below)
        return plan.model_copy(update={"windows": windows})

    def _ratio(self, size: Size) -> tuple[float, float]:
        return ratio_to_native(size, self._native, self._buckets)


class Handle:
    """A pipeline's re-dilation: a context manager that removes it at the end, also after an exception."""

    def __init__(self, patches: list[Patch]):
        self._patches = patches

    @property
    def plan(self) -> Plan | None:
        """The plan in use; None before the first call if no plan was given."""
        return self._patches[0].plan  # type: ignore[return-value]

    def remove(self) -> None:
        """Remove re-dilation; safe to call twice."""
        for patch in self._patches:
            patch.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def apply(
    pipe: Any,
    plan: Plan | None = None,
    *,
    native_size: int | Size | None = None,
    preset: Preset = "default",
    until: float | None = None,
    schedule: Shape | None = None,
    noise_damping: NoiseDamping | bool | None = None,
    dispersed: bool | None = None,
    low_pass: bool | None = None,
    windows: float | None = None,
    layout: GuidanceLayout | None = None,
) -> Handle:
    """Re-dilate a pipeline's U-Net, and its ControlNets with it, until `remove`.

    Args:
        pipe: any diffusers pipeline with a `unet`. Its loop, scheduler and other parts stay as they are. Pipelines that
            share the U-Net (`from_pipe`) are re-dilated with it.
        plan: None: at each call the default for the size of the latents, from pure noise.
        native_size: the size in pixels that the checkpoint was trained at, one side or (height, width), if its
            configuration does not say it (Illustrious 1.0 is 1536, SDXL Turbo 512).
        preset: which defaults hold if `plan` is None.
        until, schedule, noise_damping, dispersed, low_pass: in place of the plan's own, see `Plan`.
            `noise_damping=True` dilates the mid block and the first up block by 2 in the mild network, as published for
            SDXL; `dispersed=True` disperses every dilated kernel; `low_pass=True` puts FouriScale's filter before every
            dilated convolution but those after an upsampler.
        windows: the noise level in [0, 1] below which self-attention is windowed, see `plans.defaults.default_windows`.
        layout: the order of conditions in the batch, for a loop of your own that needs ND-CFG. Diffusers' pipelines
            are asked at each call.

    Returns:
        A handle with the plan in use, which is also a context manager. Applying again replaces the plan.

    The plan is on the network: threads whose pipelines share one take turns, from `apply` to `remove`, or each has a
    network of its own (`copy.deepcopy(pipe.unet)`).

    Raises:
        RedilateError: if the pipeline has no U-Net, or one that cannot be re-dilated (see `support.redilatable`), or
            the plan names modules that it does not have, or another living thread has re-dilated it. A call raises it
            while another thread's call is under way.
    """
    unet = unet_of(pipe)
    redilatable(unet)
    controls = controlnets_of(pipe)
    for control in controls:
        redilatable(unwrap(control))
    if plan is not None:
        check_names(unet, plan)
    for patch in map(find_patch, (unet, *map(unwrap, controls))):
        if patch is not None:
            patch.check_thread()
    changes = Changes(until, schedule, noise_damping, dispersed, low_pass)
    for_latents = _plans_by_size(pipe, plan, native_size, preset, changes, windows)
    fixed = None if plan is None or windows is not None else changes.of(plan)
    remove(pipe)
    context = PatchContext(
        convolutions=redilatable,
        plan_for_size=for_latents,
        noise_level=noise_level_of(pipe),
        guidance=guidance_of(layout),
        channels=prediction_channels(pipe, unet),
        attentions=windowable,
    )
    called = pipe if isinstance(pipe, nn.Module) else pipe.unet
    patches = [Patch(unet, context, None if called is unet else called)]
    # A ControlNet is a copy of the encoder, with the same names.
    encoder_context = PatchContext(redilatable, for_latents, noise_level_of(pipe), partial=True)
    patches += [Patch(unwrap(net), encoder_context, None if unwrap(net) is net else net) for net in controls]
    for patch in patches:
        patch.plan = fixed
    return Handle(patches)


def _plans_by_size(
    pipe: Any,
    plan: Plan | None,
    native_size: int | Size | None,
    preset: Preset,
    changes: Changes,
    windows: float | None,
) -> Callable[[Size], Plan]:
    """Latent (height, width) → plan, without a reference to the pipeline."""
    if plan is not None and windows is None:
        changed = changes.of(plan)
        return lambda _: changed
    plans, scale = Plans(pipe, native_size, preset), latent_scale(pipe)

    def for_latents(size: Size) -> Plan:
        found = changes.of(plans.for_latents(size) if plan is None else plan)
        if windows is None:
            return found
        return plans.with_windows(found, (size[0] * scale, size[1] * scale), windows)

    return for_latents


def remove(pipe: Any) -> None:
    """Remove re-dilation from a pipeline or a U-Net: outputs are then bit for bit what they were.

    Raises:
        RedilateError: while another thread's call of it is under way.
    """
    for network in (unet_of(pipe), *map(unwrap, controlnets_of(pipe))):
        patch = find_patch(network)
        if patch is not None:
            patch.remove()


def is_applied(pipe: Any) -> bool:
    """Whether `apply` is in force on a pipeline's U-Net."""
    return find_patch(unet_of(pipe)) is not None


def check_size(width: int, height: int, scale: int) -> None:
    """RedilateError, with the nearest sizes that work, unless both sides are positive multiples of `scale`."""
    if width > 0 and height > 0 and width % scale == 0 and height % scale == 0:
        return
    near = "x".join(str(max(scale, round(side / scale) * scale)) for side in (width, height))
    raise RedilateError(
        f"{width}x{height} is not a size that latents can have: use multiples of {scale}, such as {near}"
    )


def check_names(unet: nn.Module, plan: Plan) -> None:
    """RedilateError unless `unet` has every module that `plan` names."""
    known = redilatable(unet)
    named = set(plan.dilation) | set(plan.noise_damping.dilation if plan.noise_damping else ())
    if unknown := sorted(named - known.keys()):
        raise RedilateError(
            f"the plan names {len(unknown)} modules that this U-Net does not have, such as {unknown[0]!r}; "
            f"its convolutions are called like {min(known)!r}"
        )
    attentions = windowable(unet)
    if unknown := sorted(plan.window_sizes(0.0).keys() - attentions.keys()):
        raise RedilateError(
            f"the plan names {len(unknown)} self-attentions that this U-Net does not have, such as {unknown[0]!r}; "
            + (f"its own are called like {min(attentions)!r}" if attentions else "it has none for windows")
        )
