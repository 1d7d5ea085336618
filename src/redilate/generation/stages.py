"""The settings of a relay, as data: what each of its large stages does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..plans.plan import Plan
from ..plans.stored import Stored
from .upscalers import FACTORS, UPSCALERS, Upscaler

Enlarging = Literal["lanczos", "bicubic", "latent-bicubic", "latent-bilinear"] | Upscaler
Colour = Literal["as-drawn", "moments", "low"]
Weight = Annotated[float, Field(ge=0, le=1)]


class Stage(BaseModel):
    """One step of a relay: enlarge, add noise back, denoise the rest at the larger size.

    Attributes:
        noise: the noise level in (0, 1) (timestep / T) that is added back, as it would look at the size before the
            enlargement. At k times the side the same picture shows through more noise, so the stage starts where σ is
            k times as large (`pipelines.starts.level_at_size`).
        share: of the steps asked for, in (0, 1], how many the stage takes.
        least_steps: how many it takes at least, if as many were asked for.
        guidance: classifier-free guidance weight; 1 or less: none, at half the time. None: as asked for.
        plan: "default" for what `plan_for` says at the stage's size, "none" for the network as trained, or a plan.
        until: the noise level τ down to which that plan dilates; None: as the plan says.
        windows: the noise level below which self-attention looks through windows, as `plan_for(windows=)` lays them at
            the stage's size; None: as the plan says.
        enlarge: "lanczos" and "bicubic" enlarge the picture and encode it, as do "realesrgan-x4plus",
            "realesrgan-x4plus-anime" and "realesr-animevideov3", which need the `upscale` extra
            (`generation.super_resolution`); "latent-bicubic" and "latent-bilinear" encode it and enlarge its latents,
            or those of the stage before as they are.
        tie: how much of the low frequencies is taken from the stage before, after every step; 0 is the identity.
        tie_period: what counts as low, in latents of the stage's size: all that changes more slowly.
        noise_floor: the deviation, in latents, below which what the stage has changed is taken for the network's own
            noise and taken back (`core.shrinkage.shrink_noise`, after the last step); 0 keeps all.
        colour: what is done to the finished picture: "as-drawn", nothing; "moments" gives each colour channel the mean
            and deviation that it had before; "low" gives it the colours that it had before, averaged over cells of a
            sixteenth of its short side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    noise: Annotated[float, Field(gt=0, lt=1)] = 0.1
    share: Annotated[float, Field(gt=0, le=1)] = 0.12
    least_steps: Annotated[int, Field(ge=1)] = 2
    guidance: Annotated[float, Field(ge=0)] | None = 1.0
    plan: Literal["default", "none"] | Plan = "default"
    until: Weight | None = None
    windows: Weight | None = None
    enlarge: Enlarging = "lanczos"
    tie: Weight = 1.0
    tie_period: Annotated[float, Field(ge=1)] = 2.0
    noise_floor: Annotated[float, Field(ge=0)] = 0.1
    colour: Colour = "as-drawn"

    @property
    def super_resolved(self) -> bool:
        """Whether a network adds detail of its own as it enlarges."""
        return self.enlarge in UPSCALERS

    @property
    def enlarges_latents(self) -> bool:
        """Whether the stage enlarges latents, and not pixels."""
        return self.enlarge.startswith("latent-")

    def steps(self, asked: int) -> int:
        """How many denoising steps the stage takes where `asked` were asked for."""
        return max(min(self.least_steps, asked), round(self.share * asked))


class Relay(Stored):
    """A relay: the settings of its large stages, and how many there are.

    Attributes:
        stages: from the smallest size to the largest; where a size asks for more, the last one is repeated.
        largest_scale: how many times its side a stage may enlarge a picture, above 1.
    """

    kind = "relay"

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(),)
    largest_scale: Annotated[float, Field(gt=1)] = 2.0

    @classmethod
    def upscaled_by(cls, network: Upscaler, guidance: float | None = 1.0) -> Relay:
        """A relay whose stages are each enlarged by `network` and denoised on a little.

        It needs the `upscale` extra. `guidance` as a stage's.
        """
        if network in FACTORS:
            # Nearly free: at every doubling it is nearer to real pictures, and one step is enough (docs/relay.md).
            stage = Stage(enlarge=network, noise=0.05, guidance=guidance, share=0.04, least_steps=1)
            return cls(stages=(stage,), largest_scale=2.0)
        # Dear: run once, for the smallest picture.
        return cls(stages=(Stage(enlarge=network, noise=0.05, guidance=guidance),), largest_scale=4.0)

    def with_plan(self, plan: Plan) -> Relay:
        """The same with `plan` at every stage, in place of its own."""
        return self.model_copy(
            update={"stages": tuple(one.model_copy(update={"plan": plan}) for one in self.stages)}
        )

    def with_windows(self, below: float) -> Relay:
        """The same with windows below that noise level at every stage."""
        return self.model_copy(
            update={"stages": tuple(one.model_copy(update={"windows": below}) for one in self.stages)}
        )

    def without_plans(self) -> Relay:
        """The same, each plan that was given made anew: plans are for one model and one size."""
        anew = (
            one.model_copy(update={"plan": "default"}) if isinstance(one.plan, Plan) else one
            for one in self.stages
        )
        return self.model_copy(update={"stages": tuple(anew)})

    def stage(self, index: int) -> Stage:
        """The settings of the large stage `index`, from 0."""
        return self.stages[min(index, len(self.stages) - 1)]
