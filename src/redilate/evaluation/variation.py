"""A method with its own settings, as one more method of a study."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from ..generation.drawing import Hires
from ..plans.defaults import Preset
from ..plans.plan import Plan, Stored
from ..rivals.registry import METHODS, OWN


class Variation(Stored):
    """A method with its own settings, from a JSON file.

    Attributes:
        method: "redilate", or the name of a rival in `rivals.registry`.
        settings: keyword arguments of the rival's function.
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
        """The method's keyword arguments."""
        return self._own() if self.method == "redilate" else dict(self.settings)

    def _own(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name != "method" and getattr(self, name) != field.get_default(call_default_factory=True)
        }
