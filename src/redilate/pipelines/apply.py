"""The two verbs: `apply` puts re-dilation on a pipeline, `remove` takes it off without a trace."""

from __future__ import annotations

import weakref
from typing import Any, Literal, Self

from ..core.patch import Patch, find_patch
from ..errors import RedilateError
from ..plans.plan import Plan
from ..plans.planner import default_plan
from ..plans.published import published_plan
from ..plans.structure import convolutions
from .families import Size, as_pair, family_of, latent_scale, native_latents, unet_of
from .guidance import guidance_of
from .noise import noise_level_of

Preset = Literal["default", "published"]


class Handle:
    """Re-dilation at work on a pipeline: a context manager that removes it at the end, also after an exception."""

    def __init__(self, patch: Patch):
        self._patch = patch

    @property
    def plan(self) -> Plan | None:
        """The plan in use; None until the first call has shown the size, where no plan was given."""
        return self._patch.plan  # type: ignore[return-value]

    def remove(self) -> None:
        """Take re-dilation off; safe to call twice."""
        self._patch.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def apply(
    pipe: Any, plan: Plan | None = None, *, native_size: int | Size | None = None, preset: Preset = "default"
) -> Handle:
    """Re-dilate a pipeline's U-Net until `remove`.

    Args:
        pipe: any diffusers pipeline with a `unet`. Its loop, scheduler and other parts are left alone.
        plan: what to do; None: what `plan_for` says for the size of the latents that arrive, at each call.
        native_size: the size in pixels that the checkpoint was trained at, one side or (height, width), where its
            configuration does not say it (Illustrious 1.0 is 1536, SDXL Turbo 512).
        preset: which plans `plan_for` gives where `plan` is None.

    Returns:
        A handle with the plan in use, which is also a context manager. Applying again replaces what was there.

    Raises:
        RedilateError: if the pipeline has no U-Net, or the plan names modules that it does not have.
    """
    unet = unet_of(pipe)
    _check_names(unet, plan)
    remove(pipe)
    # The patch lives on the U-Net; a strong reference back would keep a discarded pipeline alive.
    owner = weakref.proxy(pipe)
    fixed = plan

    def plan_for_size(size: Size) -> Plan:
        if fixed is not None:
            return fixed
        scale = latent_scale(owner)
        return plan_for(
            owner, height=size[0] * scale, width=size[1] * scale, native_size=native_size, preset=preset
        )

    patch = Patch(unet, convolutions, plan_for_size, noise_level_of(owner), guidance_of(owner))
    patch.plan = fixed
    return Handle(patch)


def remove(pipe: Any) -> None:
    """Take re-dilation off a pipeline or a U-Net: outputs and types are then bit for bit what they were."""
    patch = find_patch(unet_of(pipe))
    if patch is not None:
        patch.remove()


def plan_for(
    pipe_or_unet: Any,
    *,
    width: int,
    height: int,
    native_size: int | Size | None = None,
    preset: Preset = "default",
) -> Plan:
    """The plan for a size in pixels, from the U-Net's structure and the size it was trained at.

    Args:
        pipe_or_unet: a pipeline, or its U-Net (8 pixels per latent are then taken).
        width, height: the target size in pixels, multiples of the latent scale (8).
        native_size: as for `apply`.
        preset: "default", or "published" for the paper's own settings where it has any.

    Raises:
        RedilateError: for a size that latents cannot have, or a preset that says nothing of this model and size.
    """
    unet = unet_of(pipe_or_unet)
    scale = latent_scale(pipe_or_unet)
    check_size(width, height, scale)
    if native_size is None:
        native = tuple(side * scale for side in native_latents(unet))
    else:
        native = as_pair(native_size)
    ratio = (height / native[0], width / native[1])
    names = list(convolutions(unet))
    if preset == "published":
        return published_plan(names, family_of(unet), ratio)
    return default_plan(names, ratio)


def check_size(width: int, height: int, scale: int) -> None:
    """RedilateError, with the nearest sizes that work, unless both sides are positive multiples of `scale`."""
    if width > 0 and height > 0 and width % scale == 0 and height % scale == 0:
        return
    near = "x".join(str(max(scale, round(side / scale) * scale)) for side in (width, height))
    raise RedilateError(
        f"{width}x{height} is not a size that latents can have: use multiples of {scale}, such as {near}"
    )


def _check_names(unet: Any, plan: Plan | None) -> None:
    if plan is None:
        return
    known = convolutions(unet)
    named = (
        set(plan.dilation)
        | set(plan.dispersed)
        | set(plan.noise_damping.dilation if plan.noise_damping else ())
    )
    unknown = sorted(named - known.keys())
    if unknown:
        example = next(iter(known), "none")
        raise RedilateError(
            f"the plan names {len(unknown)} modules that this U-Net does not have, such as {unknown[0]!r}; "
            f"its convolutions are called like {example!r}"
        )
