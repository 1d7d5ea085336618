"""The ranges of a picture's settings, for requests and for what pictures record; and the random seed."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import RedilateError

# torch takes seeds of 64 bits, and JSON's readers at least these 63.
SEEDS = 2**63
ANY_SEED = -1

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
SeedOrAny = Annotated[int, Field(ge=ANY_SEED, lt=SEEDS)]
Steps = Annotated[int, Field(ge=1, le=10_000)]
Guidance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=8, le=65_536)]
Strength = Annotated[float, Field(gt=0, le=1)]


class PictureSettings(BaseModel):
    """One picture's settings: whatever can be drawn from can be written into the picture and read back.

    Attributes:
        prompt, negative: the prompts.
        width, height: in pixels, 8 to 65,536.
        seed: this picture's own, 0 to 2⁶³ − 1.
        steps: 1 to 10,000.
        guidance: finite, 0 or more.
        strength: in (0, 1]; None where the picture starts from nothing.
    """

    model_config = ConfigDict(frozen=True)

    prompt: str
    negative: str | None = None
    width: Side
    height: Side
    seed: Seed
    steps: Steps
    guidance: Guidance
    strength: Strength | None = None


def settled_seed(seed: int | None, count: int = 1) -> int:
    """The first of `count` pictures' seeds, which follow one another: `seed`, or of None and −1 one drawn by lot.

    One drawn by lot has 32 bits, as other tools take them too.

    Raises:
        RedilateError: below −1, or one of the seeds is 2⁶³ or more.
    """
    if seed is None or seed == ANY_SEED:
        return secrets.randbelow(2**32)
    if not 0 <= seed <= SEEDS - count:
        several = f" for {count} pictures, whose seeds follow one another" if count > 1 else ""
        raise RedilateError(f"seed {seed}: 0 to {SEEDS - count} works{several}, and {ANY_SEED} for any")
    return seed


def first_cause(error: ValidationError) -> str:
    """The first thing wrong, with its name and its value: `width 250: Input should be a multiple of 8`."""
    first = error.errors(include_url=False)[0]
    said = first.get("ctx", {}).get("error", first["msg"])
    if not first["loc"]:
        return str(said)
    if first["type"] == "missing":
        return f"it has no {first['loc'][0]}"
    return f"{first['loc'][0]} {first['input']!r}: {said}"
