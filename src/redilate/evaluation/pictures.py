"""A study's pictures on disk, with their requests inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from diffusers import DiffusionPipeline
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo
from pydantic_core import to_jsonable_python

from ..atomic import replacing
from ..batch.local import run
from ..errors import RedilateError
from ..pipelines.families import unet_of
from ..rivals.registry import find as find_method
from .cost import Cost, metered
from .tasks import Request, Task

_KEY = "redilate-study"  # the PNG's text entry with the request and the cost

# Called with (phase, description, done, total).
OnProgress = Callable[[str, str, float, int], None]


class Picture(NamedTuple):
    """A finished picture and its cost."""

    image: Image.Image
    cost: Cost


def find(request: Request, path: Path) -> Picture | None:
    """The picture at `path`, or None; RedilateError if it was made for another request."""
    if not path.exists():
        return None
    try:
        image = PngImageFile(path)
        image.load()
        kept = json.loads(image.text[_KEY])
        cost = Cost(**kept["cost"])
    except (OSError, SyntaxError, KeyError, TypeError, ValueError) as error:
        raise RedilateError(
            f"{path} is not a picture of a study: move it away, or use another folder"
        ) from error
    asked = to_jsonable_python(request)
    del asked["variation"]  # the drawing that it asks for is compared
    if other := [name for name in asked if asked[name] != kept["request"].get(name)]:
        raise RedilateError(
            f"{path} was made with another {', '.join(other)}: delete it, or use another folder"
        )
    return Picture(image, cost)


def draw(
    pipe: DiffusionPipeline,
    tasks: Sequence[Task],
    progress: OnProgress,
    workers: Callable[..., Any] | None = None,
) -> None:
    """Draw the missing pictures; at the end RedilateError for those that could not be made.

    `workers`: `batch.local.run` with its `make_pipe` (for pipelines with the weights of `pipe`) and its numbers; None:
    this process draws.
    """
    missing = [task for task in tasks if find(task.request, task.path) is None]
    if not missing:
        return
    ended, faults = 0, []
    under_way: dict[Path, float] = {}  # the share of each picture's steps that is done

    def say(task: Task) -> None:
        progress("drawing", f"{task.method} {task.size}", ended + sum(under_way.values()), len(missing))

    def on_step(task: Task, step: int, steps: int) -> None:
        under_way[task.path] = step / steps
        say(task)

    say(missing[0])
    pipe.set_progress_bar_config(disable=True)
    run_tasks = workers or partial(run, make_pipe=lambda _: pipe)
    for outcome in run_tasks(missing, work=make, on_step=on_step):
        ended += 1
        under_way.pop(outcome.task.path, None)
        if outcome.cause is not None:
            faults.append(f"{outcome.task.path}: {outcome.cause}")
        say(outcome.task)
    if faults:
        raise RedilateError(
            f"{len(faults)} of {len(missing)} pictures could not be made; the first, {faults[0]}"
        )


def make(pipe: DiffusionPipeline, task: Task, on_step: Callable[[int, int], None] | None = None) -> None:
    """Draw the picture and write it atomically to its path."""
    request = task.request
    asked = {name: getattr(request, name) for name in ("width", "height", "seed", "steps", "guidance")}
    if request.variation is not None:
        asked |= request.variation.arguments()
    with metered(unet_of(pipe), pipe._execution_device) as cost:
        result = find_method(request.method)(pipe, request.prompt, on_step=on_step, **asked)
    text = PngInfo()
    text.add_itxt(_KEY, json.dumps(to_jsonable_python({"request": request, "cost": cost})))
    task.path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(task.path) as temporary:
        result.images[0].save(temporary, format="PNG", pnginfo=text)
