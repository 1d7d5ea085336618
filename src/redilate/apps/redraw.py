"""`redilate generate --from`: the settings of a picture, with the options given on the command line.

Every given option replaces the recorded setting, and is named on stderr. A recorded plan belongs to its size, model and
method: if one of these is given, the plan is made anew.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from redilate.errors import RedilateError
from redilate.generation.drawing import Hires
from redilate.plans.defaults import Preset
from redilate.plans.plan import Plan

from .command_line import check_device, model_name
from .recorded_settings import Recorded

# Options that change the picture; --output, --count, --device and the like do not.
_PICTURE = ("prompt", "size", "seed", "steps", "guidance", "strength", "preset", "negative", "method", "plan",
            "hires", "scheduler", "sequential", "windows", "model")  # fmt: skip
_PLANNED_FOR = {"size", "method", "strength", "preset", "model", "plan", "hires"}
# Options and recorded settings with the same name.
_ALIKE = ("prompt", "width", "height", "seed", "steps", "guidance", "preset", "negative", "method", "hires",
          "scheduler", "sequential", "windows")  # fmt: skip
# Recorded settings that other methods do not have.
_REDILATED_ALONE = ("strength", "preset", "hires", "windows", "sequential")


@dataclass(frozen=True)
class Options:
    """The options of `redilate generate`."""

    prompt: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int = 0
    steps: int = 25
    guidance: float | None = None
    strength: float | None = None
    preset: Preset = "default"
    negative: str | None = None
    method: str = "redilate"
    plan: Plan | Literal["none"] | None = None
    hires: Hires = field(default_factory=Hires)
    scheduler: str | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None
    sequential: bool = False
    windows: float | None = None


def options_to_redraw(path: Path, asked: Options, given: Set[str]) -> tuple[Options, Recorded, list[str]]:
    """The options that draw the picture at `path` again, with the given ones in place of the recorded.

    Args:
        path: a picture with settings.
        asked: all options, with defaults.
        given: the names of the options on the command line; "hires" for any of the second pass.

    Returns:
        The options, the recorded settings, and the names of the options that replaced some.

    Raises:
        RedilateError: the picture can't be read or was not made from text, or its model's place is unknown.
    """
    recorded = Recorded.read(path)
    if recorded.of_picture:
        raise RedilateError(
            f"{path} was made from another picture, which it does not hold; only text can be drawn again"
        )
    # A picture has the model's name and not its path: a path to the same name replaces nothing.
    if "model" in given and model_name(asked.model) == recorded.model:
        given = given - {"model"}
        model = asked.model
    else:
        model = asked.model if "model" in given else _model(path, recorded.model)
    kept = {name: getattr(recorded, name) for name in _ALIKE}
    if recorded.mode == "relay":
        kept["preset"] = "faithful"
    kept["plan"] = None if _PLANNED_FOR & given else recorded.last_plan
    kept["strength"] = 1.0 if recorded.mode == "single" else recorded.strength
    if recorded.method != "redilate":
        kept["strength"] = None
    if "method" in given and asked.method != "redilate":
        plain = Options()
        kept |= {name: getattr(plain, name) for name in _REDILATED_ALONE}
    kept |= {"model": model, "device": asked.device if "device" in given else _device(recorded.device)}
    replaced = given | ({"width", "height"} if "size" in given else set())
    if "model" in given:
        replaced |= {"scheduler"}
    merged = replace(asked, **{name: value for name, value in kept.items() if name not in replaced})
    if "dtype" not in given and merged.device == recorded.device:
        merged = replace(merged, dtype=recorded.dtype)
    named = ["the second pass" if name == "hires" else name for name in _PICTURE if name in given]
    return merged, recorded, named


def _model(path: Path, name: str | None) -> str | None:
    """The model to load for a recorded name; of a path only the last part was recorded."""
    if name is None or name == "bundled":
        return None
    if "/" in name and not Path(name).exists():
        return name
    raise RedilateError(
        f"{path} was made with the model {name!r} on somebody's disk; say where it is with --model"
    )


def _device(name: str | None) -> str | None:
    """The recorded device if this machine has it, else the loader's choice."""
    try:
        check_device(name)
    except RedilateError:
        return None
    return name
