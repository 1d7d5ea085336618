"""The pipeline that draws the large legs: decided on by `resolve`, called by `run`."""

from __future__ import annotations

from typing import Any

from ..pipelines.image_to_image import image_to_image, inpainting
from ..pipelines.leg_schedule import leg_scheduler
from ..pipelines.schedulers import use_scheduler
from .request import Request


def second_pass(pipe: Any, request: Request) -> Any:
    """diffusers' own image-to-image or inpainting pipeline around the networks of the second pass.

    Args:
        pipe: the pipeline of the request; `Hires.pipe` takes its place where there is one.

    Raises:
        RedilateError: diffusers has no such pipeline, or the scheduler of `Hires` is unknown.
    """
    source = request.hires.pipe or pipe
    other = inpainting(source) if request.mask is not None else image_to_image(source)
    if request.hires.scheduler is not None:
        use_scheduler(other, request.hires.scheduler)
    other.scheduler = leg_scheduler(other.scheduler)
    return other
