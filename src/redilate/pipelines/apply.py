"""The two verbs: `apply` puts re-dilation on a pipeline, `remove` takes it off without a trace."""

from __future__ import annotations

from typing import Any, Self

from torch import nn

from ..core.guidance import GuidanceLayout
from ..core.patch import Patch, Surroundings, find_patch
from ..errors import RedilateError
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .attention import windowable
from .families import Size, controlnets_of, prediction_channels, unet_of, unwrap
from .guidance import guidance_of
from .noise import noise_level_of
from .plans import Plans
from .support import redilatable


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
        layout: how the conditions stand in a batch, for a loop of your own that needs ND-CFG; a diffusers pipeline is
            asked at each call.

    Returns:
        A handle with the plan in use, which is also a context manager. Applying again replaces what was there.

    Raises:
        RedilateError: if the pipeline has no U-Net, or one that cannot be re-dilated (see `support.redilatable`), or
            the plan names modules that it does not have.
    """
    unet = unet_of(pipe)
    redilatable(unet)
    controls = controlnets_of(pipe)
    for control in controls:
        redilatable(unwrap(control))
    if plan is not None:
        check_names(unet, plan)
    for_latents = Plans(pipe, native_size, preset).for_latents if plan is None else lambda _: plan
    remove(pipe)
    surroundings = Surroundings(
        convolutions=redilatable,
        plan_for_size=for_latents,
        noise_level=noise_level_of(pipe),
        guidance=guidance_of(layout),
        channels=prediction_channels(pipe, unet),
        attentions=windowable,
    )
    entrance = pipe if isinstance(pipe, nn.Module) else pipe.unet
    patches = [Patch(unet, surroundings, None if entrance is unet else entrance)]
    # A ControlNet is a copy of the encoder, with its names: it follows the U-Net's plan.
    aside = Surroundings(redilatable, for_latents, noise_level_of(pipe), partial=True)
    patches += [Patch(unwrap(net), aside, None if unwrap(net) is net else net) for net in controls]
    for patch in patches:
        patch.plan = plan
    return Handle(patches)


def remove(pipe: Any) -> None:
    """Take re-dilation off a pipeline or a U-Net: outputs and types are then bit for bit what they were."""
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
