"""`Request`: what the user asks for; `Drawing`: how the pictures will be made, and what they record of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import torch
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..core.schedule import Tie
from ..errors import RedilateError
from ..pipelines.families import Size
from ..pipelines.schedulers import LegSchedule
from ..plans.defaults import Family, Preset
from ..plans.plan import Plan
from .upscalers import UPSCALERS

Method = Literal["redilate", "direct"]
ENLARGING = ("lanczos", "bicubic", "latent-bicubic", *UPSCALERS)


def is_network_file(name: str) -> bool:
    """Whether `name` is a network's file; only safetensors are read, since they cannot run code."""
    return name.endswith(".safetensors")


def is_network(name: str) -> bool:
    """Whether `name` stands for a network, by name or file, and not for a filter."""
    return name in UPSCALERS or is_network_file(name)


def _known(name: str) -> str:
    if name not in ENLARGING and not is_network_file(name):
        raise ValueError(f"{', '.join(ENLARGING)} or a network's .safetensors file works")
    return name


Colour = Literal["as-drawn", "moments", "low"]
Share = Annotated[float, Field(ge=0, le=1)]


class Hires(BaseModel):
    """Settings of the large legs, the second pass. None: as in the first leg, or the family's default.

    Attributes:
        prompt, negative, guidance: in place of the first leg's.
        steps: denoising steps of each large leg.
        scheduler: a short name (euler, dpm++, …) or a diffusers class name.
        lora_scale: the weight of LoRA adapters, in place of 1.
        enlarge: "lanczos" or "bicubic" in pixels, "latent-bicubic" in latents, a network of the `upscale` extra, or the
            `.safetensors` file of any other (4x-UltraSharp, …), which `spandrel` runs.
        tie: in [0, 1], the weight of the low frequencies of the picture before at the start of a leg.
        tie_until: the share of a leg's steps over which the tie fades to 0; above 1: it does not fade.
        noise_floor: the local standard deviation, in latents, below which a leg's changes are undone; 0 keeps all.
        colour: "as-drawn"; "moments" or "low" give the finished leg the colours of the picture before
            (`pixels.keep_colour`).
        control: "enlarged" gives the enlarged picture before to a ControlNet of `pipe`, for a tile ControlNet.
        pipe: another pipeline for the large legs, such as a refiner or a distilled model. Pictures pass to it as
            pixels, so its autoencoder may be another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    prompt: str | None = None
    negative: str | None = None
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    scheduler: str | None = None
    lora_scale: Annotated[float, Field(allow_inf_nan=False)] | None = None
    enlarge: Annotated[str, AfterValidator(_known)] | None = None
    tie: Share | None = None
    tie_until: Annotated[float, Field(gt=0)] | None = None
    noise_floor: Annotated[float, Field(ge=0)] | None = None
    colour: Colour = "as-drawn"
    control: Literal["enlarged"] | None = None
    pipe: Any = Field(default=None, exclude=True, repr=False)

    def as_json(self) -> dict[str, Any]:
        """All settings but those left to the defaults, as JSON types."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True)
class Request:
    """One call of `generate`, `enlarge` or `edit`. Attributes that are not listed are as for `generate`.

    Attributes:
        image: the picture that the first leg starts from, upright RGB; None: from noise.
        mask: for `edit`, of the picture's size: white where the picture is drawn anew.
        from_picture: the use of `image`: "enlarge" has large legs, "edit" is one leg at the size asked for.
    """

    prompt: str | list[str] | None = None
    negative: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int = 0
    count: int = 1
    steps: int = 25
    guidance: float | None = None
    strength: float | None = None
    preset: Preset = "default"
    method: Method = "redilate"
    plan: Plan | Literal["none"] | None = None
    hires: Hires = field(default_factory=Hires)
    native_size: int | Size | None = None
    windows: float | None = None
    sequential: bool = False
    batch: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    image: Image.Image | None = None
    mask: Image.Image | None = None
    from_picture: Literal["enlarge", "edit"] = "enlarge"


# torch takes seeds of 64 bits, JSON readers at least of 63.
SEEDS = 2**63
ANY_SEED = -1

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
SeedOrAny = Annotated[int, Field(ge=ANY_SEED, lt=SEEDS)]
Steps = Annotated[int, Field(ge=1, le=10_000)]
Guidance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=8, le=65_536)]
Strength = Annotated[float, Field(gt=0, le=1)]


class PictureSettings(BaseModel):
    """One picture's settings, as written into its file and read back; `seed` is this picture's own.

    Sizes are in pixels; the ranges are those of the types above.
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
    """The first of `count` consecutive seeds: `seed`, or for None and −1 a random one of 32 bits, as other tools have.

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
    """The first fault, with its name and value: `width 250: Input should be a multiple of 8`."""
    first = error.errors(include_url=False)[0]
    said = first.get("ctx", {}).get("error", first["msg"])
    if not first["loc"]:
        return str(said)
    if first["type"] == "missing":
        return f"it has no {first['loc'][0]}"
    return f"{first['loc'][0]} {first['input']!r}: {said}"


@dataclass(frozen=True)
class Leg:
    """One part of a drawing: a denoising at one size.

    Attributes:
        width, height: in pixels.
        start: the noise level in [0, 1] at which it starts; 1: pure noise.
        steps: denoising steps.
        guidance: classifier-free guidance weight; 1 or less: none.
        plan: the network's re-dilation; None: as trained.
        dilated: how many convolutions are dilated at the first step.
        enlarge: as for `Hires`; None for the first leg from noise.
        grown: how many times larger than the picture before, the lesser of both axes, rounded down.
        tie: how it keeps the low frequencies of the picture before.
        noise_floor, colour: as for `Hires`.
        schedule: the image-to-image pipeline's call; None: text to image.
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
        """The leg as JSON types; `until` and `plan` are null if the network runs as trained."""
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
        strength: the noise level at which the first large leg starts; 1 for one leg from pure noise.
        guidance: of the first leg.
        legs: from the smallest size to the full one.
        prompts: one for each picture; None for embeddings.
        seeds: one for each picture.
        batch: how many pictures of the same prompt may share a call, each with its own noise.
        notes: what the user should know before, a line each.
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
        """The last leg's plan; None if its network runs as trained."""
        last = self.legs[-1]
        return last.plan if last.dilated else None

    def as_json(self) -> dict[str, Any]:
        """As shown by `redilate plan --json` and recorded in pictures."""
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
    """What makes picture `index` of a drawing again, as plain data; None: the first picture, with all prompts.

    `sequential`: whether guidance was evaluated one sample at a time, as asked for or as a fallback. Of `extra` only
    the
    names are recorded: the values are not plain data.
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
