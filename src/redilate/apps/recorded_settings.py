"""The settings inside a picture, validated, since a file may be damaged or malicious; and drawing it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from redilate.errors import RedilateError
from redilate.generation.drawing import Hires, PictureSettings, Request, versions
from redilate.plans.defaults import Preset
from redilate.plans.plan import Plan
from redilate.rivals.registry import METHODS

from .command_line import PipelineOptions, check_device, model_name
from .metadata import read_text

# Options that change the picture; --output, --count, --device and the like do not.
_PICTURE = ("prompt", "size", "seed", "steps", "guidance", "strength", "preset", "negative", "method", "plan",
            "hires", "scheduler", "sequential", "windows", "model")  # fmt: skip
# If one of these is given, the plan is made anew.
_PLANNED_FOR = {"size", "method", "strength", "preset", "model", "plan", "hires"}
# Options and recorded settings with the same name.
_ALIKE = ("prompt", "width", "height", "seed", "steps", "guidance", "preset", "negative", "method", "hires",
          "sequential", "windows")  # fmt: skip
# Recorded settings that other methods do not have.
_REDILATED_ALONE = ("strength", "preset", "hires", "windows", "sequential")


class RecordedLeg(BaseModel):
    """What of a leg is needed to draw it again."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    plan: Plan | None = None


class Recorded(PictureSettings):
    """A generation's settings as recorded in its picture; a later version's additions are kept and ignored.

    Models are recorded by name: "bundled", a hub name, or the last part of a path.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    method: Literal[*METHODS]  # type: ignore[valid-type]  # the names, known when this is run
    preset: Preset = "default"
    legs: tuple[RecordedLeg, ...] = ()
    hires: Hires = Hires()
    windows: Annotated[float, Field(ge=0, le=1)] | None = None
    sequential: bool = False
    from_picture: Literal["enlarge", "edit"] | None = None
    # Version 0.1 recorded these three in place of strength and legs.
    mode: Literal["single", "relay", "enlarge"] | None = None
    plan: Plan | None = None
    relay: dict[str, Any] | None = None
    scheduler: str | None = None
    model: str | None = None
    fingerprint: str | None = None  # of the weights
    controlnet: str | None = None
    hires_model: str | None = None  # of the large legs
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    versions: dict[str, str]  # by package

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read them from the picture at `path`; RedilateError if they are missing, damaged or of another size."""
        text, size = read_text(path)
        try:
            # pydantic's JSON reader bounds the depth, json's does not.
            found = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"][:3]) or "they"
            raise RedilateError(
                f"the settings in {path} are damaged: {place}: {' '.join(first['msg'].split())[:200]}"
            ) from error
        if size != (found.width, found.height):
            raise RedilateError(
                f"{path} is {size[0]}x{size[1]}, and its settings are those of a picture of "
                f"{found.width}x{found.height}: it has been resized, or they are another picture's"
            )
        found._text = text
        return found

    _text: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """All recorded settings, as plain data."""
        return json.loads(self._text)

    @property
    def of_picture(self) -> bool:
        """Whether it was made from another picture."""
        # Version 0.1 recorded a strength only for image to image.
        before = not self.legs and (self.mode == "enlarge" or self.strength is not None)
        return self.from_picture is not None or before

    @property
    def last_plan(self) -> Plan | Literal["none"] | None:
        """The last leg's plan; "none" if no leg was re-dilated, None if it is unknown."""
        if self.method != "redilate":
            return None
        if self.legs:
            found = self.legs[-1].plan
            return "none" if found is None and len(self.legs) > 1 else found
        return self.plan if self.mode != "relay" else None

    def differences(self, made_by: Mapping[str, Any]) -> list[str]:
        """The reasons why a picture drawn now may differ; `made_by` is `provenance` of the pipeline that draws."""
        found = []
        if self.mode == "relay":
            found.append(
                "it was drawn by version 0.1's relay, which is no more: the preset faithful comes near"
            )
        if self.model != made_by["model"]:
            return [*found, f"it was made with the model {self.model!r}, not {made_by['model']!r}"]
        before, now = self.controlnet or "none", made_by.get("controlnet", "none")
        if before != now:
            return [
                *found,
                f"its ControlNet was {before}, and is {now} now; --controlnet and --control say it",
            ]
        before, now = (one or "the first pass's" for one in (self.hires_model, made_by.get("hires_model")))
        if before != now:
            found.append(f"its second pass's model was {before}, and is {now} now; --hires-model says it")
        before, now = self.fingerprint, made_by["fingerprint"]
        if before not in (None, now):
            found.append(f"the model {self.model!r} has other weights now ({now}, not {before})")
        for name, how in (("device", "on"), ("dtype", "in")):
            before, now = getattr(self, name), made_by[name]
            if before not in (None, now):
                found.append(f"it was made {how} {before}, not {now}")
        for package, version in versions().items():
            before = self.versions.get(package, "unknown")
            if before != version:
                found.append(f"it was made with {package} {before}, not {version}")
        return found


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in the picture at `path`, as checked by `Recorded.read`."""
    return Recorded.read(path).settings


@dataclass(frozen=True)
class Options(Request):
    """The options of `redilate generate`."""

    model: str | None = None
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)


def options_to_redraw(path: Path, asked: Options, given: Set[str]) -> tuple[Options, Recorded, list[str]]:
    """The options that draw the picture at `path` again, with the given ones in place of the recorded.

    `given` are the names of the options on the command line, "hires" for any of the second pass. A recorded plan
    belongs to its size, model and method: if one of these is given, the plan is made anew.

    Returns:
        The options, the recorded settings, and the names of the options that replaced some.
    """
    recorded = Recorded.read(path)
    if recorded.of_picture:
        raise RedilateError(
            f"{path} was made from another picture, which it does not hold; only text can be drawn again"
        )
    model = asked.model if "model" in given else _model(path, recorded.model)
    # A picture has the model's name and not its path: a path to the same name replaces nothing.
    if model_name(model) == recorded.model:
        given = given - {"model"}
    redilated = recorded.method == "redilate"
    kept = {name: getattr(recorded, name) for name in _ALIKE}
    kept["plan"] = None if _PLANNED_FOR & given else recorded.last_plan
    kept["strength"] = (1.0 if recorded.mode == "single" else recorded.strength) if redilated else None
    if recorded.mode == "relay":
        kept["preset"] = "faithful"
    if "method" in given and asked.method != "redilate":
        kept |= {name: getattr(Options(), name) for name in _REDILATED_ALONE}
    replaced = given | ({"width", "height"} if "size" in given else set())
    pipeline = asked.pipeline
    if not given & {"scheduler", "model"}:
        pipeline = replace(pipeline, scheduler=recorded.scheduler)
    if "device" not in given:
        pipeline = replace(pipeline, device=_device(recorded.device))
    if "dtype" not in given and pipeline.device == recorded.device:
        pipeline = replace(pipeline, dtype=recorded.dtype)
    kept = {name: value for name, value in kept.items() if name not in replaced}
    named = ["the second pass" if name == "hires" else name for name in _PICTURE if name in given]
    return replace(asked, **kept, model=model, pipeline=pipeline), recorded, named


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
