"""One more method of a study: another one with settings of its own."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from ..generation.drawing import Hires
from ..plans.defaults import Preset
from ..plans.plan import Plan, Stored
from ..rivals.registry import METHODS, OWN


class Variation(Stored):
    """A method with settings of its own, as a JSON file has it.

    Attributes:
        method: a name in `rivals.registry` of a method that is not ours, or "redilate".
        settings: of such another method, keyword arguments of its function.
        strength, preset, plan, hires, windows, sequential: for "redilate", as for `generate`.
    """

    kind = "variation"

    method: str = "redilate"
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    preset: Preset = "default"
    plan: Literal["none"] | Plan | None = None
    hires: Hires = Hires()
    windows: Annotated[float, Field(ge=0, le=1)] | None = None
    sequential: bool = False

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        ours = self.method == "redilate"
        if not ours and (self.method in OWN or self.method not in METHODS):
            others = ", ".join(name for name in METHODS if name not in OWN)
            raise ValueError(f"method is {self.method!r}; redilate works, and {others}")
        for name in sorted(self._own()):
            if ours == (name == "settings"):
                raise ValueError(f"{name} is not for the method {self.method!r}")
        if not ours:
            takes = inspect.signature(METHODS[self.method].found()).parameters
            for name in self.settings:
                if name not in takes or takes[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                    raise ValueError(f"{self.method} has no setting {name!r}")
        return self

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the method that it sets."""
        return self._own() if self.method == "redilate" else dict(self.settings)

    def _own(self) -> dict[str, Any]:
        """The fields that differ from their defaults, which a file may spell out."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name != "method" and getattr(self, name) != field.get_default(call_default_factory=True)
        }
