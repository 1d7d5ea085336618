"""The settings inside a picture, validated, since a file may be damaged or malicious."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from redilate.errors import RedilateError
from redilate.generation.drawing import Hires, PictureSettings
from redilate.plans.defaults import Preset
from redilate.plans.plan import Plan
from redilate.rivals.registry import METHODS

from .embedded import read_text


class RecordedLeg(BaseModel):
    """What of a leg is needed to draw it again."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    plan: Plan | None = None


class Recorded(PictureSettings):
    """A generation's settings as recorded in its picture; a later version's additions are kept and ignored.

    Attributes:
        method, preset, hires, windows, sequential, scheduler: as for `redilate.generate`.
        legs: how it was drawn.
        from_picture: "enlarge" or "edit" if it was made from another picture.
        mode, plan, relay: version 0.1 recorded them in place of strength and legs.
        model: "bundled", a hub name, or the last part of a path.
        fingerprint: of the weights, `pipelines.families.weights_fingerprint`.
        controlnet: the name of a ControlNet that followed a picture.
        hires_model: the name of another model that drew the large legs.
        device, dtype: of the computation.
        versions: package → version.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    method: Literal[*METHODS]  # type: ignore[valid-type]  # the names, known when this is run
    preset: Preset = "default"
    legs: tuple[RecordedLeg, ...] = ()
    hires: Hires = Hires()
    windows: Annotated[float, Field(ge=0, le=1)] | None = None
    sequential: bool = False
    from_picture: Literal["enlarge", "edit"] | None = None
    mode: Literal["single", "relay", "enlarge"] | None = None
    plan: Plan | None = None
    relay: dict[str, Any] | None = None
    scheduler: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    controlnet: str | None = None
    hires_model: str | None = None
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    versions: dict[str, str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read them from the picture at `path`.

        Raises:
            RedilateError: it can't be read, has no settings of Redilate, damaged ones, or ones of another size.
        """
        text, size, _ = read_text(path)
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

    @property
    def lost(self) -> str | None:
        """What of version 0.1's picture can no longer be repeated; None if everything can."""
        if self.mode != "relay":
            return None
        return "it was drawn by version 0.1's relay, which is no more: the preset faithful comes near"
