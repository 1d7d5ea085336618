"""What a worker does with a task: draw it, and make a file's bytes of the picture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    pipe: Any, task: Task, on_step: OnStep | None = None, *, method: str, model: str, encode: Encode
) -> Drawn:
    """Draw a task by a method of `rivals.registry`.

    The bytes depend on the task, the method and the pipeline alone: no time, no place and no worker is in them. The
    settings have an entry `task` (its id and digest), by which a `Store` knows a picture that it has no record of.

    Raises:
        RedilateError: an unknown method, or a task that the pipeline cannot do.
    """
    from ..rivals.registry import OWN, find

    made = find(method)(
        pipe,
        task.prompt,
        width=task.width,
        height=task.height,
        seed=task.seed,
        steps=task.steps,
        guidance=task.guidance,
        negative=task.negative,
        **({} if task.strength is None else {"strength": task.strength}),
        on_step=on_step,
        **({"on_note": log.warning} if method in OWN else {}),
    )
    settings = made.settings | {"model": model, "task": {"id": task.id, "digest": task.digest}}
    return Drawn(encode(made.images[0], settings), made.seconds)
