"""What a picture says of how it was made, read from a file that may be damaged or made to do harm."""

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
    """One leg; what is not needed to draw it again is not looked at."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    plan: Plan | None = None


class Recorded(PictureSettings):
    """A generation's settings as they stand in its picture; what a later version adds is kept and not looked at.

    What may be recorded is what may be asked: the attributes of `PictureSettings`, and

    Attributes:
        method, preset, hires, windows, sequential, scheduler: as for `redilate.generate`.
        legs: how it was drawn.
        from_picture: "enlarge" or "edit" where it was made from another picture.
        mode, plan, relay: what version 0.1 recorded in place of strength and legs.
        model: "bundled", a hub's name, or the last part of a path.
        fingerprint: of the weights, `pipelines.families.weights_fingerprint`.
        controlnet: the name of the ControlNet that followed a picture.
        hires_model: the name of the model that drew the large legs, where it was another one.
        device, dtype: where it was computed, and in which precision.
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
            RedilateError: it can't be read, carries no settings of Redilate, damaged ones, or those of a picture of
                another size than it has (it was resized, or they are another's).
        """
        text, size, _ = read_text(path)
        try:
            # In JSON mode: pydantic's own reader bounds the depth, which json's does not.
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
        """All that was recorded, as plain data."""
        return json.loads(self._text)

    @property
    def of_picture(self) -> bool:
        """Whether it was made from another picture, which it does not hold."""
        # Version 0.1 recorded a strength of image-to-image alone.
        before = not self.legs and (self.mode == "enlarge" or self.strength is not None)
        return self.from_picture is not None or before

    @property
    def last_plan(self) -> Plan | Literal["none"] | None:
        """The plan that draws the full size again; "none" where no leg was re-dilated, None where it is not known."""
        if self.method != "redilate":
            return None
        if self.legs:
            found = self.legs[-1].plan
            return "none" if found is None and len(self.legs) > 1 else found
        return self.plan if self.mode != "relay" else None

    @property
    def lost(self) -> str | None:
        """What of a picture of version 0.1 can no longer be repeated; None where all of it can."""
        if self.mode != "relay":
            return None
        return "it was drawn by version 0.1's relay, which is no more: the preset faithful comes near"
