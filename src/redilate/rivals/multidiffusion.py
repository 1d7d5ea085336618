"""MultiDiffusion: Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", ICML 2023,
arXiv 2302.08113.

Overlapping windows of the native size are denoised separately at every step, and the next large latent is their mean at
each pixel (equation 5 for windows of equal weight).

Here the mean is of the windows' predictions, before the scheduler's step. That is equal for steps that are linear in
latents and prediction (DDIM's, Euler's, multistep solvers'); a stochastic scheduler draws its noise once for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.patch import argument_of, copy_containers, sample_of, with_sample
from ..errors import RedilateError
from ..pipelines.families import Size
from .installing import installing, native_latent_size

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
        return views, lambda predictions: average(predictions, corners, size)

    with installing(pipe, "multidiffusion") as (unet, stack):
        predict_by_views(unet, stack, split)
        yield


class View(NamedTuple):
    """A view's sample (B, C, h, w), and its crop's corner (top, left) in pixels."""

    sample: Tensor
    corner: tuple[int, int] | None = None


# The views of one call, and the function that merges their predictions into one (B, C, H, W).
Split = tuple[Sequence[View], Callable[[list[Tensor]], Tensor]]


def predict_by_views(unet: nn.Module, stack: ExitStack, split: Callable[[Tensor, Any], Split | None]) -> None:
    """Have `unet` predict through views until `stack` is closed; the pipeline and its scheduler see one call.

    Before a call the first view replaces the sample; after it the other views are evaluated and all predictions merged.

    Args:
        split: (sample, timestep) → the views of this call; None: the network sees the whole.
    """
    inside = False
    pending: tuple[Split, Any] | None = None  # a call whose other views are yet to be evaluated

    def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        nonlocal pending
        if inside:
            return None
        made = split(argument_of(args, kwargs, 0, "sample"), argument_of(args, kwargs, 1, "timestep"))
        pending = None if made is None else (made, copy_containers((args, kwargs)))
        return None if made is None else _showing(made[0][0], args, kwargs)

    def after(root: nn.Module, _: tuple, __: dict, output: Any) -> Any:
        nonlocal inside, pending
        if inside or pending is None:
            return output
        ((_first, *others), merge), call = pending
        pending = None
        if output is None:  # the network raised
            return None
        predictions = [sample_of(output)]
        inside = True
        try:
            for view in others:
                args, kwargs = _showing(view, *copy_containers(call))
                predictions.append(sample_of(root(*args, **kwargs)))
        finally:
            inside = False
        return with_sample(output, merge(predictions))

    stack.callback(unet.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(unet.register_forward_hook(after, with_kwargs=True, always_call=True).remove)


def _showing(view: View, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """A call's arguments with the view as the sample, and for SDXL with its crop's corner."""
    if args:
        args = (view.sample, *args[1:])
    else:
        kwargs = kwargs | {"sample": view.sample}
    added = kwargs.get("added_cond_kwargs") or {}
    times = added.get("time_ids")
    if view.corner is not None and times is not None and times.shape[-1] == 6:
        times = times.clone()
        times[:, 2:4] = times.new_tensor(view.corner)
        kwargs = kwargs | {"added_cond_kwargs": added | {"time_ids": times}}
    return args, kwargs


def starts(length: int, window: int, stride: int) -> list[int]:
    """The starts of windows along an axis of `length`: every `stride`, the last one flush with the end."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def average(predictions: Sequence[Tensor], corners: Sequence[tuple[int, int]], size: Size) -> Tensor:
    """The mean of the predictions (B, C, h, w) that cover each pixel of `size` (height, width), NaN without any.

    `corners` are (top, left) of each prediction.
    """
    first = predictions[0]
    total = first.new_zeros((*first.shape[:2], *size), dtype=torch.promote_types(first.dtype, torch.float32))
    count = total.new_zeros(size)
    for prediction, (top, left) in zip(predictions, corners, strict=True):
        place = (..., slice(top, top + prediction.shape[-2]), slice(left, left + prediction.shape[-1]))
        total[place] += prediction
        count[place] += 1
    return (total / count).to(first.dtype)
