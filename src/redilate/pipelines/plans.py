"""The plans for one U-Net, by size: the table of defaults, asked for a pipeline's own structure and native size."""

from __future__ import annotations

from typing import Any

from ..errors import RedilateError
from ..plans.defaults import Family, Preset, preset_plan
from ..plans.plan import Plan, Windows
from ..plans.published import Family as PublishedFamily
from ..plans.windows import default_windows
from .families import Size, defaults_family, family_of, latent_scale, unet_of
from .native import knows_buckets, native_size, ratio_to_native
from .support import redilatable, windowable


class Plans:
    """What re-dilates a U-Net at a size; knows nothing of the pipeline, which may be gone while its U-Net lives on.

    Args:
        pipe: a pipeline, or its U-Net (8 pixels per latent are then taken).
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
        """The plan for latents of `size` (height, width) that are drawn from pure noise."""
        return self.for_pixels((size[0] * self._scale, size[1] * self._scale), whole=True)

    def for_pixels(self, size: Size, *, whole: bool) -> Plan:
        """The plan for a picture of `size` (height, width); `whole`: drawn at that size from pure noise."""
        return preset_plan(self._names, self._family, self._published, self._ratio(size), self._preset, whole)

    def with_windows(self, plan: Plan, size: Size, below: float) -> Plan:
        """`plan` with windows below a noise level, for a picture of `size` (height, width); see `plans.windows`.

        Raises:
            RedilateError: for no noise level, or a network without self-attention to look through windows.
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
