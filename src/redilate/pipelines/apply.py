"""The two verbs: `apply` puts re-dilation on a pipeline, `remove` takes it off without a trace."""

from __future__ import annotations

from typing import Any, Literal, Self

from torch import nn

from ..core.guidance import GuidanceLayout
from ..core.patch import Patch, Surroundings, find_patch
from ..errors import RedilateError
from ..plans.plan import Plan, Windows
from ..plans.planner import default_plan, default_windows
from ..plans.published import Family, published_plan
from .attention import windowable
from .families import Size, controlnets_of, family_of, latent_scale, prediction_channels, unet_of, unwrap
from .guidance import guidance_of
from .native import knows_buckets, ratio_to_native
from .native import native_size as native_size_of
from .noise import noise_level_of
from .support import redilatable

Preset = Literal["default", "published"]


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
        plan: what to do; None: what `plan_for` says for the size of the latents that arrive, at each call.
        native_size: the size in pixels that the checkpoint was trained at, one side or (height, width), where its
            configuration does not say it (Illustrious 1.0 is 1536, SDXL Turbo 512).
        preset: which plans `plan_for` gives where `plan` is None.
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
    known = redilatable(unet)
    controls = controlnets_of(pipe)
    for control in controls:
        redilatable(unwrap(control))
    if plan is not None:
        check_names(unet, plan)
    for patch in map(find_patch, (unet, *map(unwrap, controls))):
        if patch is not None:
            patch.check_thread()
    plans = _Plans(pipe, list(known), plan, native_size, preset)
    remove(pipe)
    surroundings = Surroundings(
        convolutions=redilatable,
        plan_for_size=plans.for_latents,
        noise_level=noise_level_of(pipe),
        guidance=guidance_of(layout),
        channels=prediction_channels(pipe, unet),
        attentions=windowable,
    )
    entrance = pipe if isinstance(pipe, nn.Module) else pipe.unet
    patches = [Patch(unet, surroundings, None if entrance is unet else entrance)]
    # A ControlNet is a copy of the encoder, with its names: it follows the U-Net's plan.
    aside = Surroundings(redilatable, plans.for_latents, noise_level_of(pipe), partial=True)
    patches += [Patch(unwrap(net), aside, None if unwrap(net) is net else net) for net in controls]
    for patch in patches:
        patch.plan = plan
    return Handle(patches)


class _Plans:
    """The plans for one U-Net by size; knows nothing of the pipeline, which may be gone while its U-Net lives on."""

    def __init__(
        self, pipe: Any, names: list[str], fixed: Plan | None, native: int | Size | None, preset: Preset
    ):
        self._fixed = fixed
        if fixed is not None:
            return
        unet = unet_of(pipe)
        self._names = names
        self._scale = latent_scale(pipe)
        self._native = native_size_of(pipe, native)
        self._preset: Preset = preset
        self._family: Family | None = family_of(unet)
        self._buckets = knows_buckets(unet)

    def for_latents(self, size: Size) -> Plan:
        """The plan for latents of `size` (height, width)."""
        return self._fixed or self.for_pixels((size[0] * self._scale, size[1] * self._scale))

    def for_pixels(self, size: Size) -> Plan:
        """The plan for a picture of `size` (height, width)."""
        ratio = self._ratio(size)
        if self._preset == "published":
            return published_plan(self._names, self._family, ratio)
        return default_plan(self._names, ratio)

    def windows(self, size: Size, unet: nn.Module, below: float) -> Windows | None:
        """The windows for a picture of `size` (height, width), see `default_windows`."""
        levels = {name: level for name, (_, level) in windowable(unet).items()}
        if not levels:
            raise RedilateError(
                f"{type(unet).__name__} has no self-attention to look through windows; leave windows out"
            )
        if not 0 <= below <= 1:
            raise RedilateError(f"windows is {below:g}; it is a noise level from 0 to 1, such as 0.5")
        latents = (size[0] // self._scale, size[1] // self._scale)
        return default_windows(levels, latents, self._ratio(size), below)

    def _ratio(self, size: Size) -> tuple[float, float]:
        return ratio_to_native(size, self._native, self._buckets)


def remove(pipe: Any) -> None:
    """Take re-dilation off a pipeline or a U-Net: outputs and types are then bit for bit what they were.

    Raises:
        RedilateError: while another thread's call of it is under way.
    """
    for network in (unet_of(pipe), *map(unwrap, controlnets_of(pipe))):
        patch = find_patch(network)
        if patch is not None:
            patch.remove()


def plan_for(
    pipe_or_unet: Any,
    *,
    width: int,
    height: int,
    native_size: int | Size | None = None,
    preset: Preset = "default",
    windows: float | None = None,
) -> Plan:
    """The plan for a size in pixels, from the U-Net's structure and the size it was trained at.

    Args:
        pipe_or_unet: a pipeline, or its U-Net (8 pixels per latent are then taken).
        width, height: the target size in pixels, multiples of the latent scale (8).
        native_size: as for `apply`.
        preset: "default", or "published" for the paper's own settings, interpolated between its sizes.
        windows: the noise level in [0, 1] below which self-attention looks through windows of as many tokens as in
            training (`Plan.windows`), for speed; None: at none.

    Raises:
        RedilateError: for a size that latents cannot have, a model that the preset says nothing of, or windows of a
            model that has no self-attention to look through them.
    """
    check_size(width, height, latent_scale(pipe_or_unet))
    unet = unet_of(pipe_or_unet)
    plans = _Plans(pipe_or_unet, list(redilatable(unet)), None, native_size, preset)
    plan = plans.for_pixels((height, width))
    if windows is None:
        return plan
    return plan.model_copy(update={"windows": plans.windows((height, width), unet, windows)})


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
