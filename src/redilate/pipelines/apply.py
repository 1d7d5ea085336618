"""The two verbs: `apply` puts re-dilation on a pipeline, `remove` takes it off without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from torch import nn

from ..core.guidance import GuidanceLayout
from ..core.patch import Patch, PatchContext, find_patch
from ..core.schedule import Shape
from ..errors import RedilateError
from ..plans.defaults import Preset
from ..plans.plan import Changes, NoiseDamping, Plan
from .calls import guidance_of, noise_level_of
from .families import Size, controlnets_of, latent_scale, prediction_channels, unet_of, unwrap
from .plans import Plans
from .support import redilatable, windowable


class Handle:
    """Re-dilation at work on a pipeline: a context manager that removes it at the end, also after an exception."""

    def __init__(self, patches: list[Patch]):
        self._patches = patches

    @property
    def plan(self) -> Plan | None:
        """The plan in use; None until the first call has shown the size, where no plan was given."""
        return self._patches[0].plan  # type: ignore[return-value]

    def remove(self) -> None:
        """Take re-dilation off; safe to call twice."""
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
        pipe: any diffusers pipeline with a `unet`. Its loop, scheduler and other parts are left alone. Pipelines that
            share the U-Net (`from_pipe`) are re-dilated with it.
        plan: what to do; None: the default at each call for the size of the latents that arrive, from pure noise.
        native_size: the size in pixels that the checkpoint was trained at, one side or (height, width), where its
            configuration does not say it (Illustrious 1.0 is 1536, SDXL Turbo 512).
        preset: which defaults hold where `plan` is None.
        until, schedule, noise_damping, dispersed, low_pass: in place of the plan's own, see `Plan`.
            `noise_damping=True` takes the mid block and the first up block at 2 as the mild network, as published for
            SDXL; `dispersed=True` disperses every dilated kernel; `low_pass=True` has FouriScale's filter before every
            dilated convolution but those behind an upsampler.
        windows: the noise level in [0, 1] below which self-attention looks through windows, see `plans.windows`.
        layout: how the conditions stand in a batch, for a loop of your own that needs ND-CFG; a diffusers pipeline is
            asked at each call.

    Returns:
        A handle with the plan in use, which is also a context manager. Applying again replaces what was there.

    The plan is on the network: threads whose pipelines share one take turns, from `apply` to `remove`, or each has a
    network of its own (`copy.deepcopy(pipe.unet)`). What they would otherwise make of each other's pictures is refused:
    applying to a network that another living thread has re-dilated, and calling one that another thread is calling.

    Raises:
        RedilateError: if the pipeline has no U-Net, or one that cannot be re-dilated (see `support.redilatable`), or
            the plan names modules that it does not have, or another thread has re-dilated it.
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
    # A ControlNet is a copy of the encoder, with its names: it follows the U-Net's plan.
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
    """Latent (height, width) → the plan in use, without a reference to the pipeline, which may be gone by then."""
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
    """Take re-dilation off a pipeline or a U-Net: outputs and types are then bit for bit what they were.

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
    """RedilateError unless every module that `plan` names is one of `unet`'s that can do what the plan says."""
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
