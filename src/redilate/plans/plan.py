"""`Plan`: what re-dilation does to a U-Net, as data that can be printed, edited and stored as JSON.

Convolutions are found by their place in the U-Net and not from lists of names, so pruned and unknown U-Nets work too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_serializer,
    model_validator,
)
from torch import nn

from ..atomic import write_text
from ..core.conv import Dilation, Dispersion, Fractional, Pair, is_neutral, validate_dilation
from ..core.schedule import Shape, dilation_at
from ..errors import RedilateError

_BLOCK = re.compile(r"^(down_blocks\.\d+|mid_block|up_blocks\.\d+)\.")
Found = TypeVar("Found")
_ADAPTER = re.compile(r"\.(base_layer|lora_A\.[^.]+)$")


def block_of(name: str) -> str:
    """The block of a module: `down_blocks.1`, `mid_block`, `up_blocks.0`; empty for a module outside the blocks."""
    found = _BLOCK.match(name)
    return found[1] if found else ""


def convolutions(unet: nn.Module) -> dict[str, list[nn.Conv2d]]:
    """Every spatial convolution inside a block, by name, in the order down, mid, up.

    1×1 convolutions, `conv_in` and `conv_out` are left out. A LoRA's base layer and down-projection have the name of
    the convolution that they replace.
    """
    found: dict[str, list[nn.Conv2d]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Conv2d) and block_of(name) and max(module.kernel_size) > 1:
            found.setdefault(_ADAPTER.sub("", name), []).append(module)
    return in_order(found)


def in_order(named: dict[str, Found]) -> dict[str, Found]:
    """Modules by name in the order of their blocks: down, mid, up."""
    # Alphabetical order is right: "down_blocks" < "mid_block" < "up_blocks".
    return dict(sorted(named.items(), key=lambda item: block_of(item[0]).split(".")[0]))


def count_resolution_levels(names: list[str] | dict[str, list[nn.Conv2d]]) -> int:
    """How many resolutions the U-Net has: one for each down block."""
    return 1 + max((int(block.split(".")[1]) for block in map(block_of, names) if "." in block), default=-1)


def resolution_level(name: str, levels: int) -> int:
    """The level of a module's resolution: 0 is the full latent size, levels − 1 the mid block's."""
    block = block_of(name)
    if block == "mid_block":
        return levels - 1
    side, index = block.split(".")
    return int(index) if side == "down_blocks" else levels - 1 - int(index)


class Stored(BaseModel):
    """Frozen settings that refuse unknown fields, with their JSON files; messages call them by `kind`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a JSON file; RedilateError says what is wrong with it."""
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise RedilateError(f"cannot read the {cls.kind} {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RedilateError(f"{path} is not a {cls.kind}: it is not UTF-8 text") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RedilateError(f"{path} is not a {cls.kind}: {place}: {first['msg']}") from error

    def write(self, path: str | Path) -> None:
        """Write a JSON file atomically."""
        write_text(Path(path), self.model_dump_json(indent=2) + "\n")


def _checked(dilations: dict[str, Dilation]) -> dict[str, Dilation]:
    for dilation in dilations.values():
        validate_dilation(dilation)
    return {name: dilation for name, dilation in dilations.items() if not is_neutral(dilation)}


Dilations = Annotated[dict[str, Dilation], AfterValidator(_checked)]
Level = Annotated[float, Field(ge=0, le=1)]


class NoiseDamping(BaseModel):
    """ND-CFG: guidance from the plan's network, denoising from a mildly re-dilated one.

    Attributes:
        dilation: the mild network's, as `Plan.dilation`.
        until: the noise level in [0, 1] down to which ND-CFG is used.
        reuse: how far the noise level may fall before Δ, the difference that the mild network makes, is computed anew.
            0: at every evaluation, as in the equation. The default computes it at about every third step of 25 and
            every second of 10; docs/performance.md has the cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dilation: Dilations
    until: Level
    reuse: Level = 0.1


class Windows(BaseModel):
    """Windowed self-attention.

    Attributes:
        size: self-attention's name → (h, w), the largest window in tokens. A map of H × W tokens is split into
            ⌈H / h⌉ × ⌈W / w⌉ windows, which shift from step to step (`redilate.core.windows`). Others see the whole
            map.
        below: the noise level in [0, 1] below which there are windows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: dict[str, tuple[PositiveInt, PositiveInt]]
    below: Level = 0.5


class Plan(Stored):
    """What re-dilation does to each convolution of a U-Net at each noise level.

    Attributes:
        dilation: module name → (d_h, d_w), each at least 1, at the highest noise level. Other modules run as trained.
        until: the noise level τ in [0, 1] (timestep / T) below which the whole network runs as trained.
        schedule: how the dilation falls from 1 to τ, see `redilate.core.schedule.dilation_at`.
        noise_damping: ND-CFG, or None for ordinary guidance.
        dispersed: names in `dilation` whose kernels are dispersed.
        dispersion: how they are dispersed.
        fractional: how fractional dilations are computed: `taps` interpolates between neighbouring pixels; `channels`
            splits the input channels between the whole dilations above and below, at the plain convolution's cost;
            `published` resizes the features.
        by_channels: names in `dilation` that use `channels`, whatever `fractional` says.
        low_passed: names in `dilation` whose features are low-passed first, so that the dilated convolution does not
            alias (FouriScale's filter, `redilate.core.band_limit`).
        windows: windowed self-attention, or None for whole maps.
        note: where the plan comes from.
    """

    kind = "plan"

    dilation: Dilations = Field(default_factory=dict)
    until: Level = 0.3
    schedule: Shape = "hold"
    noise_damping: NoiseDamping | None = None
    dispersed: frozenset[str] = frozenset()
    dispersion: Dispersion = Dispersion()
    fractional: Fractional = "taps"
    by_channels: frozenset[str] = frozenset()
    low_passed: frozenset[str] = frozenset()
    windows: Windows | None = None
    note: str = ""

    @model_validator(mode="after")
    def _named_are_dilated(self) -> Self:
        for field in ("dispersed", "by_channels", "low_passed"):
            if stray := sorted(getattr(self, field) - self.dilation.keys()):
                raise ValueError(f"{field} names {stray[0]!r}, which dilation does not")
        return self

    @field_serializer("dispersed", "by_channels", "low_passed")
    def _sorted(self, names: frozenset[str]) -> list[str]:
        return sorted(names)  # the same plan, the same bytes

    @property
    def is_neutral(self) -> bool:
        """Whether nothing is changed at any noise level."""
        return not self.dilation and self.noise_damping is None and not self.window_sizes(0.0)

    @property
    def dispersions(self) -> Mapping[str, Dispersion]:
        """Module name → how its kernel is dispersed."""
        return dict.fromkeys(self.dispersed, self.dispersion)

    @property
    def damping_reuse(self) -> float:
        """ND-CFG's `reuse`; 0 without ND-CFG."""
        return self.noise_damping.reuse if self.noise_damping is not None else 0.0

    def fractional_of(self, name: str) -> Fractional:
        """How the module `name` computes a fractional dilation."""
        return "channels" if name in self.by_channels else self.fractional

    def dilations(self, noise_level: float) -> dict[str, Dilation]:
        """Module name → (d_h, d_w) at `noise_level` in [0, 1]."""
        return _at(self.dilation, noise_level, self.until, self.schedule)

    def mild_dilations(self, noise_level: float) -> dict[str, Dilation] | None:
        """The same for ND-CFG's mild network; None if ND-CFG is off."""
        damping = self.noise_damping
        if damping is None or noise_level < max(damping.until, self.until):
            return None
        return _at(damping.dilation, noise_level, damping.until, self.schedule)

    def window_sizes(self, noise_level: float) -> dict[str, Pair]:
        """Self-attention's name → (h, w), for those with windows at `noise_level` in [0, 1]."""
        windows = self.windows
        return {} if windows is None or noise_level >= windows.below else windows.size

    def __str__(self) -> str:
        if self.is_neutral:
            return "\n".join(filter(None, [self.note, "neutral: the U-Net runs as trained"]))
        lines = [self.note] if self.note else []
        if self.dilation:
            lines.append(f"re-dilated from noise level 1 down to {self.until:g}, schedule {self.schedule}")
            lines += _table(self.dilation, self.dispersed, self.by_channels, self.low_passed)
        if self.noise_damping is not None:
            again = f", Δ anew every {self.noise_damping.reuse:g}" if self.noise_damping.reuse else ""
            lines.append(f"ND-CFG down to {self.noise_damping.until:g}{again}, with the mild network")
            lines += _table(self.noise_damping.dilation) or ["  as trained"]
        if self.windows is not None:
            lines.append(f"self-attention through windows below noise level {self.windows.below:g}")
            lines += _window_table(self.windows.size)
        return "\n".join(lines)


def _at(full: dict[str, Dilation], noise_level: float, until: float, schedule: Shape) -> dict[str, Dilation]:
    # Many modules share few dilations: compute each once.
    now = {one: dilation_at(one, noise_level, until, schedule) for one in set(full.values())}
    return {name: now[one] for name, one in full.items()}


def _table(
    dilations: dict[str, Dilation],
    dispersed: frozenset[str] = frozenset(),
    by_channels: frozenset[str] = frozenset(),
    low_passed: frozenset[str] = frozenset(),
) -> list[str]:
    """One line for all modules of a block with the same treatment."""

    def treatment(name: str) -> str:
        height, width = dilations[name]
        kind = "dispersed" if name in dispersed else "dilated"
        shared = ", by channels" if name in by_channels else ""
        filtered = ", low-passed" if name in low_passed else ""
        return f"{kind} × {height:g} high, {width:g} wide{shared}{filtered}"

    counts = Counter((block_of(name), treatment(name)) for name in dilations)
    return [f"  {block:<16} {count:>3} convolutions {how}" for (block, how), count in counts.items()]


def _window_table(sizes: dict[str, Pair]) -> list[str]:
    """One line for neighbouring self-attentions of a block with the same window."""
    rows = []
    for (block, (height, width)), names in groupby(sizes, key=lambda name: (block_of(name), sizes[name])):
        rows.append(f"  {block:<16} {len(list(names)):>3} attentions   at most {height} × {width} tokens")
    return rows


# The mild network of ND-CFG as published for SDXL at 4096² (ScaleCrafter, appendix).
_MILD_BLOCKS, _MILD = ("mid_block", "up_blocks.0"), (2.0, 2.0)


@dataclass(frozen=True)
class Changes:
    """Changes to a plan; None: no change.

    Attributes:
        until, schedule: as for `Plan`.
        noise_damping: ND-CFG as given; True: the plan's own, or else with the published mild network; False: none.
        dispersed: whether every dilated kernel is dispersed.
        low_pass: whether features are low-passed before every dilated convolution but those right after an
            enlargement, whose input has no high frequencies.
    """

    until: float | None = None
    schedule: Shape | None = None
    noise_damping: NoiseDamping | bool | None = None
    dispersed: bool | None = None
    low_pass: bool | None = None

    def of(self, plan: Plan) -> Plan:
        """`plan` with the changes; RedilateError for an invalid value."""
        update: dict[str, object] = {}
        if self.until is not None:
            update["until"] = self.until
        if self.schedule is not None:
            update["schedule"] = self.schedule
        if self.dispersed is not None:
            update["dispersed"] = sorted(plan.dilation) if self.dispersed else []
        if self.low_pass is not None:
            update["low_passed"] = low_passed(plan.dilation) if self.low_pass else []
        if self.noise_damping is not None:
            update["noise_damping"] = self._damping(plan)
        if not update:
            return plan
        try:
            return Plan.model_validate(plan.model_dump() | update)
        except ValidationError as error:
            first = error.errors()[0]
            raise RedilateError(f"{first['loc'][0]}: {first['msg']}, not {first['input']!r}") from error

    def _damping(self, plan: Plan) -> NoiseDamping | None:
        if self.noise_damping is True:
            mild = {name: _MILD for name in plan.dilation if block_of(name) in _MILD_BLOCKS}
            return plan.noise_damping or NoiseDamping(dilation=mild, until=self.until or plan.until)
        return self.noise_damping or None


def low_passed(names: Iterable[str]) -> list[str]:
    """Those of the convolutions `names` whose input FouriScale filters."""
    return sorted(name for name in names if ".upsamplers." not in name)
