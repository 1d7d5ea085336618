"""MultiDiffusion: Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", ICML 2023,
arXiv 2302.08113.

Overlapping windows of the native size are denoised separately at every step, and the next large latent is their mean at
each pixel (equation 5 for windows of equal weight).

Here the mean is of the windows' predictions, before the scheduler's step. That is equal for steps that are linear in
latents and prediction (DDIM's, Euler's, multistep solvers'); a stochastic scheduler draws its noise once for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..errors import RedilateError
from ..pipelines.families import Size
from .installing import installing, native_latent_size
from .views import Split, View, average, predict_by_views, starts

STRIDE = 0.25


@contextmanager
def multidiffusion(
    pipe: Any, *, stride: float = STRIDE, native_size: int | Size | None = None
) -> Iterator[None]:
    """Have a pipeline's U-Net predict the mean over windows of the native size.

    Args:
        stride: between windows as a share of the window, in (0, 1]. At twice the side a step takes 81 evaluations with
            1/8 (the paper's), 25 with 1/4, 9 with 1/2.
        native_size: as for `redilate.apply`.

    Raises:
        RedilateError: see `installing`; or for a stride out of range.
    """
    if not 0 < stride <= 1:
        raise RedilateError(f"stride is a share of the window in (0, 1], such as {STRIDE}, not {stride}")
    window = native_latent_size(pipe, native_size)
    pace = (max(1, round(window[0] * stride)), max(1, round(window[1] * stride)))

    def split(sample: Tensor, _: Any) -> Split | None:
        size = (sample.shape[-2], sample.shape[-1])
        if size[0] <= window[0] and size[1] <= window[1]:
            return None
        rows, columns = (starts(*axis) for axis in zip(size, window, pace, strict=True))
        corners = [(top, left) for top in rows for left in columns]
        views = [View(sample[..., t : t + window[0], left : left + window[1]]) for t, left in corners]
        return Split(views, lambda predictions: average(predictions, corners, size))

    with installing(pipe, "multidiffusion") as (unet, stack):
        predict_by_views(unet, stack, split)
        yield
