"""`redilate generate --from`: what a picture says of itself, under what is given beside it.

The rule: every option that is given replaces what the picture says, and is named on stderr; all else is as recorded.
A recorded plan belongs to its size, model and method: giving one of these leaves the plan to be made anew. A relay's
plan is its last stage's; those that were given to it stand in its own settings.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from redilate.errors import RedilateError
from redilate.generation.stages import Relay
from redilate.plans.plan import Plan

from .arguments import check_device, model_name
from .recorded import Recorded

# What makes another picture; --output, --count, --device and the like do not.
_PICTURE = (
    "prompt",
    "size",
    "seed",
    "steps",
    "guidance",
    "negative",
    "method",
    "mode",
    "plan",
    "scheduler",
    "sequential",
    "windows",
    "upscaler",
    "model",
)
_PLANNED_FOR = {"size", "method", "mode", "model", "plan", "upscaler"}


@dataclass(frozen=True)
class Asked:
    """What `redilate generate` is to draw, in the words of its options."""

    prompt: str | None
    width: int | None
    height: int | None
    seed: int
    steps: int
    guidance: float
    negative: str | None
    method: str
    plan: Plan | None
    scheduler: str | None
    model: str | None
    device: str | None
    dtype: str | None
    mode: Literal["auto", "single", "relay"] = "auto"
    sequential: bool = False
    relay: Relay | None = None
    windows: float | None = None  # where None, a recorded plan or relay has its own


def again(path: Path, asked: Asked, given: Set[str]) -> tuple[Asked, Recorded, list[str]]:
    """What to draw so that the picture at `path` comes out again, but for what is given.

    Args:
        path: a picture with settings.
        asked: what the options say, defaults among them.
        given: the names of the options that stand on the command line.

    Returns:
        What to draw, what was recorded, and the names of what was replaced.

    Raises:
        RedilateError: the picture can't be read or can't be made from text, or its model can't be found by its name.
    """
    recorded = Recorded.read(path)
    if recorded.strength is not None or recorded.mode == "enlarge":
        raise RedilateError(
            f"{path} was made from another picture, which it does not hold; only text can be drawn again"
        )
    # A path says where a model is, and a picture what it is called: naming the place replaces nothing.
    if "model" in given and model_name(asked.model) == recorded.model:
        given = given - {"model"}
        model = asked.model
    else:
        model = asked.model if "model" in given else _model(path, recorded.model)
    # Modes are for our own methods; none but they record one.
    rival = "method" in given and asked.method not in ("redilate", "direct")
    merged = replace(
        asked,
        prompt=asked.prompt if "prompt" in given else recorded.prompt,
        width=asked.width if "size" in given else recorded.width,
        height=asked.height if "size" in given else recorded.height,
        seed=asked.seed if "seed" in given else recorded.seed,
        steps=asked.steps if "steps" in given else recorded.steps,
        guidance=asked.guidance if "guidance" in given else recorded.guidance,
        negative=asked.negative if "negative" in given else recorded.negative,
        method=asked.method if "method" in given else recorded.method,
        plan=asked.plan if _PLANNED_FOR & given or recorded.mode == "relay" else recorded.plan,
        scheduler=asked.scheduler if {"scheduler", "model"} & given else recorded.scheduler,
        model=model,
        device=asked.device if "device" in given else _device(recorded.device),
        mode=asked.mode if {"mode", "upscaler"} & given or rival else recorded.mode,
        sequential=asked.sequential if "sequential" in given else recorded.sequential,
        relay=asked.relay if {"mode", "upscaler"} & given else _relay(recorded, given),
    )
    if "dtype" not in given and merged.device == recorded.device:
        merged = replace(merged, dtype=recorded.dtype)
    return merged, recorded, [name for name in _PICTURE if name in given]


def _relay(recorded: Recorded, given: Set[str]) -> Relay | None:
    """The recorded relay, without plans that were for another size or model."""
    if recorded.relay is None or not {"size", "model"} & given:
        return recorded.relay
    return recorded.relay.without_plans()


def _model(path: Path, name: str | None) -> str | None:
    """What to load for a recorded name: a home is private, so that of a model on a disk only the last part is known."""
    if name is None or name == "bundled":
        return None
    if "/" in name and not Path(name).exists():
        return name
    raise RedilateError(
        f"{path} was made with the model {name!r} on somebody's disk; say where it is with --model"
    )


def _device(name: str | None) -> str | None:
    """The recorded device if it is here, so that the same is computed; else the loader's choice."""
    try:
        check_device(name)
    except RedilateError:
        return None
    return name
