"""A drawing: how a picture will be made, decided in full and as plain data, and what the picture records of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..core.tie import Tie
from ..pipelines.leg_schedule import LegSchedule
from ..plans.defaults import Family
from ..plans.plan import Plan
from .request import Colour, Request


@dataclass(frozen=True)
class Leg:
    """One part of a drawing: a denoising at one size.

    Attributes:
        width, height: in pixels.
        start: the noise level in [0, 1] that it starts at; 1: pure noise.
        steps: denoising steps.
        guidance: classifier-free guidance weight; 1 or less: none.
        plan: what the network is re-dilated by; None: as trained.
        dilated: how many convolutions have a dilation in force at the first step.
        enlarge: how the picture before gets to this size; None where there is none.
        grown: how many times both sides have grown at least, in whole numbers.
        tie: how it is held to the picture before.
        noise_floor, colour: as for `Hires`.
        schedule: how an image-to-image pipeline is called for it; None: text to image.
    """

    width: int
    height: int
    start: float
    steps: int
    guidance: float
    plan: Plan | None
    dilated: int
    enlarge: str | None = None
    grown: int = 1
    tie: Tie | None = None
    noise_floor: float = 0.0
    colour: Colour = "as-drawn"
    schedule: LegSchedule | None = None

    def as_json(self) -> dict[str, Any]:
        """The leg as JSON types; `until` and `plan` are those in force, null where the network runs as trained."""
        plan = self.plan if self.dilated and self.plan is not None else None
        return {
            "width": self.width,
            "height": self.height,
            "from": round(self.start, 4),
            "until": None if plan is None else plan.until,
            "steps": self.steps,
            "guidance": self.guidance,
            "dilated": self.dilated,
            "enlarged_by": self.enlarge,
            "tie": None if self.tie is None else asdict(self.tie),
            "plan": None if plan is None else plan.model_dump(mode="json"),
        }

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        steps = f"{self.steps} {'step' if self.steps == 1 else 'steps'} from noise level {self.start:.2g}"
        guided = f"guidance {self.guidance:g}" if self.guidance > 1 else "no guidance"
        if self.dilated and self.plan is not None:
            network = f"{self.dilated} convolutions re-dilated until {self.plan.until:.2g}"
        else:
            network = "the network as trained"
        return f"{size}: {steps}, {guided}, {network}"


@dataclass(frozen=True)
class Drawing:
    """How the pictures of one request are made; `resolve` decides it, `run` follows it.

    Attributes:
        request: what was asked for.
        family: whose defaults hold.
        width, height: of the finished picture, in pixels.
        strength: the noise level that the first large leg starts at; 1 where there is one leg from pure noise.
        guidance: of the first leg.
        legs: from the smallest size to the full one.
        prompts: one for each picture; None where embeddings are given.
        seeds: one for each picture.
        batch: how many pictures of the same prompt share a call at most, each with its own noise.
        notes: what somebody should know before it is drawn, a line each.
    """

    request: Request
    family: Family
    width: int
    height: int
    strength: float
    guidance: float
    legs: tuple[Leg, ...]
    prompts: tuple[str | None, ...]
    seeds: tuple[int, ...]
    batch: int = 1
    notes: tuple[str, ...] = field(default=())

    @property
    def steps(self) -> int:
        """Denoising steps of one picture, over all legs."""
        return sum(leg.steps for leg in self.legs)

    @property
    def plan(self) -> Plan | None:
        """What the last leg's network is re-dilated by; None where none of it is in force."""
        last = self.legs[-1]
        return last.plan if last.dilated else None

    def as_json(self) -> dict[str, Any]:
        """As `redilate plan --json` shows it and a picture records it."""
        request = self.request
        hires = request.hires.as_json()
        return {
            "width": self.width,
            "height": self.height,
            "strength": self.strength,
            "preset": request.preset,
            "family": self.family,
            "legs": [leg.as_json() for leg in self.legs],
            **({"hires": hires} if hires else {}),
        }

    def __str__(self) -> str:
        return "\n".join([*(str(leg) for leg in self.legs), *self.notes])


def settings_of(pipe: Any, drawing: Drawing, *, sequential: bool, index: int | None = None) -> dict[str, Any]:
    """All that is needed to make picture `index` of a drawing again, as plain data; None: the first, with all prompts.

    `sequential`: whether guidance was evaluated one sample at a time, as asked or for want of memory.

    `extra` holds the names of further arguments alone: their values are not plain data.
    """
    request = drawing.request
    prompts = list(dict.fromkeys(drawing.prompts if index is None else drawing.prompts[index : index + 1]))
    return {
        "prompt": (prompts[0] if len(prompts) == 1 else prompts) or "",
        "negative": request.negative,
        "seed": drawing.seeds[index or 0],
        "steps": request.steps,
        "guidance": drawing.guidance,
        "method": request.method,
        **drawing.as_json(),
        **({"sequential": True} if sequential else {}),
        **({"windows": request.windows} if request.windows is not None else {}),
        **({"extra": sorted(request.extra)} if request.extra else {}),
        **({"from_picture": request.from_picture} if request.image is not None else {}),
        "scheduler": type(pipe.scheduler).__name__,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that a picture depends on."""
    import diffusers

    from .. import __version__

    return {"redilate": __version__, "diffusers": diffusers.__version__, "torch": torch.__version__}
