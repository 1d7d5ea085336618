"""MultiDiffusion: Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", ICML 2023,
arXiv 2302.08113.

Overlapping windows of the native size are denoised each on its own at every step, and the next large latent is the one
nearest to all of them, which for windows of equal weight is their mean at each pixel (equation 5).

Here the mean is taken of the windows' predictions, before the scheduler's step. A step that is linear in latents and
prediction, as DDIM's, Euler's and those of the multistep solvers, turns the one mean into the other exactly; noise
that a stochastic scheduler adds is drawn once for the whole.
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
    """Have a pipeline's U-Net see nothing but windows of the native size, and predict their mean.

    Args:
        stride: from one window to the next as a share of the window, in (0, 1]. At twice the side, 1/8 (the paper's)
            makes 81 evaluations of a step, 1/4 makes 25, 1/2 makes 9.
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
