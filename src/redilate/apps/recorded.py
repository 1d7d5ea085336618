"""What a picture says of how it was made, read from a file that may be damaged or made to do harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, ValidationError

from redilate.errors import RedilateError
from redilate.generation.asked import Asked
from redilate.generation.stages import Relay
from redilate.plans.plan import Plan
from redilate.rivals.registry import METHODS

from .metadata import read_text


class RecordedRelay(Relay):
    """A relay's settings; what they came to stands beside them and is not looked at."""

    model_config = ConfigDict(extra="ignore")


class Recorded(Asked):
    """A generation's settings as they stand in its picture; what a later version adds is kept and not looked at.

    What may be recorded is what may be asked: the attributes of `Asked`, and

    Attributes:
        method, mode, plan, scheduler: as for `redilate.generate`.
        relay, sequential: as for `redilate.generate`.
        model: "bundled", a hub's name, or the last part of a path.
        fingerprint: of the weights, `provenance.fingerprint`.
        device, dtype: where it was computed, and in which precision.
        versions: package → version.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    method: Literal[*METHODS]  # type: ignore[valid-type]  # the names, known when this is run
    mode: Literal["single", "relay", "enlarge"] = "single"
    plan: Plan | None = None
    relay: RecordedRelay | None = None
    sequential: bool = False
    scheduler: str | None = None
    model: str | None = None
    fingerprint: str | None = None
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
