"""A worker's function: draw tasks, and encode the pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..rivals.registry import OWN, find
from .engine import OnStep
from .tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("redilate.batch")

# A picture and its settings (JSON data) → the bytes of a file with both.
Encode = Callable[["Image", Mapping[str, Any]], bytes]


@dataclass(frozen=True)
class Drawn:
    """A picture's file as bytes, and the seconds that drawing took."""

    picture: bytes
    seconds: float


def draw(
    pipe: Any,
    tasks: Sequence[Task],
    on_step: OnStep | None = None,
    *,
    method: str,
    model: str,
    encode: Encode,
) -> list[Drawn]:
    """Draw tasks by a method of `rivals.registry`: one, or several of one row as grouped by `tasks.together`.

    The bytes depend only on the task, the method and the pipeline; those of pictures drawn together on a GPU are equal
    within rounding, on a CPU exactly. The settings have an entry `task` (id and digest), by which a `Store` recognises
    a picture without a record.
    """
    made = find(method)
    first = tasks[0]
    names = ("width", "height", "steps", "guidance", "negative", "strength")
    asked = {"on_step": on_step, **{name: getattr(first, name) for name in names}}
    if first.strength is None:
        del asked["strength"]
    pictures: list[bytes] = []
    seconds: list[float] = []

    def keep(image: Image, settings: Mapping[str, Any]) -> None:
        task = tasks[len(pictures)]
        told = {**settings, "model": model, "task": {"id": task.id, "digest": task.digest}}
        pictures.append(encode(image, told))

    if method in OWN:
        asked |= {"count": len(tasks), "on_picture": keep, "on_note": log.warning}
        share = made(pipe, first.prompt, seed=first.seed, **asked).seconds / len(tasks)
        seconds = [share] * len(tasks)
    else:
        for task in tasks:
            one = made(pipe, task.prompt, seed=task.seed, **asked)
            keep(one.images[0], one.settings)
            seconds.append(one.seconds)
    return [Drawn(picture, spent) for picture, spent in zip(pictures, seconds, strict=True)]
