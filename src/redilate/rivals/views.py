"""A U-Net that predicts a large latent through several small views of it, in any pipeline's own loop.

Two of torch's hooks on the root: before a call the sample is exchanged for the first view, after it the other views
are evaluated and all predictions are merged. The pipeline and its scheduler see one call.
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
    """What the network is shown: a sample (B, C, h, w), and where it was cropped from, in pixels (top, left)."""

    sample: Tensor
    corner: tuple[int, int] | None = None


class Split(NamedTuple):
    """The views of one call, and how their predictions become that of the whole, (B, C, H, W)."""

    views: Sequence[View]
    merge: Callable[[list[Tensor]], Tensor]


def predict_by_views(unet: nn.Module, stack: ExitStack, split: Callable[[Tensor, Any], Split | None]) -> None:
    """Have `unet` predict through views until `stack` is closed.

    Args:
        split: (sample, timestep) → the views of this call; None: the network sees the whole, as always.
    """
    inside = False
    pending: tuple[Split, tuple, dict] | None = None  # a call whose other views are still to be evaluated

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
    """A call's arguments with the view in place of the whole; SDXL is also told where the view was cropped."""
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
    """Where windows of `window` begin along an axis of `length`: every `stride`, the last flush with the end.

    A window that is not smaller than the axis begins at 0, alone.
    """
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def average(predictions: Sequence[Tensor], corners: Sequence[tuple[int, int]], size: Size) -> Tensor:
    """At each pixel of a (B, C, *size) tensor the mean of those predictions (B, C, h, w) that cover it.

    Args:
        corners: (top, left) of each prediction. What none covers of `size` (height, width) is NaN.
    """
    first = predictions[0]
    total = first.new_zeros((*first.shape[:2], *size), dtype=torch.promote_types(first.dtype, torch.float32))
    count = total.new_zeros(size)
    for prediction, (top, left) in zip(predictions, corners, strict=True):
        place = (..., slice(top, top + prediction.shape[-2]), slice(left, left + prediction.shape[-1]))
        total[place] += prediction
        count[place] += 1
    return (total / count).to(first.dtype)
