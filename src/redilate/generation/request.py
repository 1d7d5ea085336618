"""What somebody asks for, in which ranges: a picture from a prompt or from another, before anything is decided."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import RedilateError
from ..pipelines.families import Size
from ..plans.defaults import Preset
from ..plans.plan import Plan
from .upscalers import UPSCALERS, is_network_file

Method = Literal["redilate", "direct"]
ENLARGING = ("lanczos", "bicubic", "latent-bicubic", *UPSCALERS)


def _known(name: str) -> str:
    if name not in ENLARGING and not is_network_file(name):
        raise ValueError(f"{', '.join(ENLARGING)} or a network's .safetensors file works")
    return name


Colour = Literal["as-drawn", "moments", "low"]
Share = Annotated[float, Field(ge=0, le=1)]


class Hires(BaseModel):
    """What is different in the large legs, the second pass; None: as in the first leg, or the family's default.

    Attributes:
        prompt, negative, guidance: in place of the first leg's.
        steps: denoising steps of each large leg.
        scheduler: a name that `pipelines.schedulers` knows.
        lora_scale: how strongly LoRA adapters weigh, in place of 1.
        enlarge: how the picture before is enlarged: "lanczos" or "bicubic" in pixels, "latent-bicubic" in latents, a
            network of the `upscale` extra, or the `.safetensors` file of any other (4x-UltraSharp, …), which
            `spandrel` runs.
        tie: in [0, 1], how much of the low frequencies of the picture before is held at the start of a leg.
        tie_until: the share of a leg's steps over which the tie fades to nothing; above 1: it never fades.
        noise_floor: the deviation, in latents, below which what a leg has changed is taken back; 0 keeps all.
        colour: what is done to the finished leg's colours: "as-drawn", "moments", "low" (`pixels.keep_colour`).
        control: "enlarged" feeds a ControlNet of `pipe` the picture before, enlarged: a tile ControlNet's use.
        pipe: another pipeline for the large legs, such as a refiner or a distilled model; pictures pass between the
            two as pixels, so the autoencoders may differ.
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
        """What was asked for, without what was left to the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True)
class Request:
    """One call of `generate`, `enlarge` or `edit`.

    Attributes:
        prompt: a text, one for each picture, or None where `extra` has embeddings.
        negative: what the pictures should not show.
        width, height: in pixels, multiples of the latent scale (8); None: the native size, or the picture's.
        seed: of the first picture; picture k has seed + k.
        count: how many pictures, of each prompt.
        steps: denoising steps of a whole denoising; a large leg takes the share that its strength leaves it.
        guidance: classifier-free guidance weight; 1 or less: none; None: the family's default.
        strength: the noise level in (0, 1] that the first large leg starts at; 1: everything is drawn at full size;
            None: the family's default.
        preset: which defaults: "default", "published" (ScaleCrafter's settings), "faithful" (a short leg that keeps
            to the native picture).
        method: "redilate", or "direct": at full size by the network as trained.
        plan: of the last leg, in place of the preset's; "none": every leg runs as trained.
        hires: what is different in the large legs.
        native_size: the side, or (height, width), in pixels that the checkpoint was trained at.
        windows: the noise level below which self-attention looks through windows in the large legs; None: at none.
        sequential: evaluate guidance one sample at a time, in half the U-Net's activations.
        batch: how many pictures of a prompt share a call at most; None: several on a GPU, one on a CPU.
        extra: further arguments of the pipeline's own call.
        image: the picture that the first leg starts from, upright RGB; None: from noise alone.
        mask: for `edit`: white where the picture is drawn anew; of the picture's size.
        from_picture: what `image` is for: "enlarge" leads through legs, "edit" is one leg at the size asked for.
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
