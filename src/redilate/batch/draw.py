"""What a worker does with tasks: draw them, and make a file's bytes of each picture."""

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

# A picture and its settings (plain JSON data) → the bytes of a file that has both.
Encode = Callable[["Image", Mapping[str, Any]], bytes]


@dataclass(frozen=True)
class Drawn:
    """A picture as the bytes of its file, and the seconds that drawing it took."""

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
    """Draw tasks by a method of `rivals.registry`: one, or several of one row as `tasks.together` puts them.

    The bytes depend on the task, the method and the pipeline alone: no time, no place and no worker is in them. What
    is drawn together on a GPU is what is drawn alone within rounding; a CPU draws one after another, bit for bit as
    alone. The settings have an entry `task` (its id and digest), by which a `Store` knows a picture that it has no
    record of.

    Raises:
        RedilateError: an unknown method, or a task that the pipeline cannot do.
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
