"""Predicting a large latent through several small views of it, in any pipeline's loop.

Two torch hooks on the U-Net: before a call the first view replaces the sample, after it the other views are evaluated
and all predictions merged. The pipeline and its scheduler see one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.patch import argument_of, copy_containers, sample_of, with_sample
from ..pipelines.families import Size


class View(NamedTuple):
    """A view's sample (B, C, h, w), and its crop's corner (top, left) in pixels."""

    sample: Tensor
    corner: tuple[int, int] | None = None


class Split(NamedTuple):
    """The views of one call, and the function that merges their predictions into one (B, C, H, W)."""

    views: Sequence[View]
    merge: Callable[[list[Tensor]], Tensor]


def predict_by_views(unet: nn.Module, stack: ExitStack, split: Callable[[Tensor, Any], Split | None]) -> None:
    """Have `unet` predict through views until `stack` is closed.

    Args:
        split: (sample, timestep) → the views of this call; None: the network sees the whole.
    """
    inside = False
    pending: tuple[Split, tuple, dict] | None = None  # a call whose other views are yet to be evaluated

    def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        nonlocal pending
        if inside:
            return None
        made = split(argument_of(args, kwargs, 0, "sample"), argument_of(args, kwargs, 1, "timestep"))
        pending = None if made is None else (made, *copy_containers((args, kwargs)))
        return None if made is None else _showing(made.views[0], args, kwargs)

    def after(root: nn.Module, _: tuple, __: dict, output: Any) -> Any:
        nonlocal inside, pending
        if inside or pending is None:
            return output
        (made, *call), pending = pending, None
        if output is None:  # the network raised
            return None
        predictions = [sample_of(output)]
        inside = True
        try:
            for view in made.views[1:]:
                args, kwargs = _showing(view, *copy_containers(tuple(call)))
                predictions.append(sample_of(root(*args, **kwargs)))
        finally:
            inside = False
        return with_sample(output, made.merge(predictions))

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
