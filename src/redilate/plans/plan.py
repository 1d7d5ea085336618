"""A plan: what is done to a U-Net, as data that can be read, printed, kept as JSON and edited, option by option too.

A U-Net's convolutions are found by where they stand and not from lists, so that pruned and unknown ones work too.
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
    """The block that a module stands in: `down_blocks.1`, `mid_block`, `up_blocks.0`; empty for the root's own."""
    found = _BLOCK.match(name)
    return found[1] if found else ""


def convolutions(unet: nn.Module) -> dict[str, list[nn.Conv2d]]:
    """Every spatial convolution inside a block, by name, in the order in which a picture passes: down, mid, up.

    1×1 convolutions see one pixel at any dilation and are left out; so are `conv_in` and `conv_out`. A LoRA's base
    layer and down-projection stand under the name of the convolution that they replace.
    """
    found: dict[str, list[nn.Conv2d]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Conv2d) and block_of(name) and max(module.kernel_size) > 1:
            found.setdefault(_ADAPTER.sub("", name), []).append(module)
    return in_order(found)


def in_order(named: dict[str, Found]) -> dict[str, Found]:
    """What stands in blocks, by name, in the order in which a picture passes: down, mid, up."""
    # "down_blocks" < "mid_block" < "up_blocks": the sides sort as they follow one another.
    return dict(sorted(named.items(), key=lambda item: block_of(item[0]).split(".")[0]))


def count_resolution_levels(names: list[str] | dict[str, list[nn.Conv2d]]) -> int:
    """How many resolutions the U-Net works at: one per down block."""
    return 1 + max((int(block.split(".")[1]) for block in map(block_of, names) if "." in block), default=-1)


def resolution_level(name: str, levels: int) -> int:
    """The level of a module, 0 for the outermost (full latent size), levels − 1 for the mid block."""
    block = block_of(name)
    if block == "mid_block":
        return levels - 1
    side, index = block.split(".")
    return int(index) if side == "down_blocks" else levels - 1 - int(index)


class Stored(BaseModel):
    """Frozen settings that refuse unknown fields, and their JSON files.

    Attributes:
        kind: what messages call them: "plan".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read them from a JSON file; RedilateError says what is wrong with one that holds something else."""
        try:
            return cls.model_validate_json(Path(path).read_text())
        except OSError as error:
            raise RedilateError(f"cannot read the {cls.kind} {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RedilateError(f"{path} is not a {cls.kind}: it is not UTF-8 text") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RedilateError(f"{path} is not a {cls.kind}: {place}: {first['msg']}") from error

    def write(self, path: str | Path) -> None:
        """Write them as JSON, whole or not at all."""
        write_text(Path(path), self.model_dump_json(indent=2) + "\n")


def _checked(dilations: dict[str, Dilation]) -> dict[str, Dilation]:
    for dilation in dilations.values():
        validate_dilation(dilation)
    return {name: dilation for name, dilation in dilations.items() if not is_neutral(dilation)}


Dilations = Annotated[dict[str, Dilation], AfterValidator(_checked)]
Level = Annotated[float, Field(ge=0, le=1)]


class NoiseDamping(BaseModel):
    """ND-CFG: the mildly re-dilated network whose denoising is used, and the noise level down to which it is.

    Attributes:
        dilation: the mild network's, as `Plan.dilation`.
        until: the noise level in [0, 1] down to which ND-CFG is at work.
        reuse: how far the noise level may fall while Δ, the difference that the mild network makes, is kept. 0: it is
            worked out at every evaluation, as the equation has it. By default the mild network is
            evaluated at about every third step of 25, and at every second of 10; docs/performance.md has the cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dilation: Dilations
    until: Level
    reuse: Level = 0.1


class Windows(BaseModel):
    """Windowed self-attention: which look through windows, how large these are, and at which noise levels.

    Attributes:
        size: module name → (h, w), the largest window in tokens. A map of H × W tokens is cut into ⌈H / h⌉ × ⌈W / w⌉
            windows, which shift from step to step (`redilate.core.windows`); one that fits into a window is seen
            whole, as trained. A self-attention that is not named always is.
        below: the noise level in [0, 1] below which they do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: dict[str, tuple[PositiveInt, PositiveInt]]
    below: Level = 0.5


class Plan(Stored):
    """What re-dilation does to each convolution of a U-Net at each noise level.

    Attributes:
        dilation: module name → (d_h, d_w), each at least 1, at the highest noise level. A module that is not
            named runs as trained.
        until: the noise level τ in [0, 1] (timestep / T) below which the whole network runs as trained.
        schedule: how the dilation falls from 1 to τ, see `redilate.core.schedule.dilation_at`.
        noise_damping: ND-CFG, or None for ordinary guidance.
        dispersed: names out of `dilation` whose kernels are dispersed.
        dispersion: how they are.
        fractional: how dilations that are not whole are met: `taps` reads means of neighbouring pixels, `channels`
            has a share of the input channels at the whole dilation above and the rest at the one below, in the time
            of the plain convolution; `published` resizes the features.
        by_channels: names out of `dilation` that meet them as `channels`, whatever `fractional` says of the rest.
        low_passed: names out of `dilation` whose features lose, before the dilated convolution, the waves that it
            would fold back (FouriScale's filter, `redilate.core.band_limit`).
        windows: windowed self-attention, or None for whole maps.
        note: where the plan comes from, for a reader.
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
        """How the module `name` meets a dilation that is not whole."""
        return "channels" if name in self.by_channels else self.fractional

    def dilations(self, noise_level: float) -> dict[str, Dilation]:
        """Module name → (d_h, d_w) at `noise_level` in [0, 1], for every module that the plan names."""
        return _at(self.dilation, noise_level, self.until, self.schedule)

    def mild_dilations(self, noise_level: float) -> dict[str, Dilation] | None:
        """The same for ND-CFG's mild network; None where ND-CFG is off."""
        damping = self.noise_damping
        if damping is None or noise_level < max(damping.until, self.until):
            return None
        return _at(damping.dilation, noise_level, damping.until, self.schedule)

    def window_sizes(self, noise_level: float) -> dict[str, Pair]:
        """Self-attention's name → (h, w), for those that look through windows at `noise_level` in [0, 1]."""
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
    # Few distinct dilations, many modules: each is worked out once.
    now = {one: dilation_at(one, noise_level, until, schedule) for one in set(full.values())}
    return {name: now[one] for name, one in full.items()}


def _table(
    dilations: dict[str, Dilation],
    dispersed: frozenset[str] = frozenset(),
    by_channels: frozenset[str] = frozenset(),
    low_passed: frozenset[str] = frozenset(),
) -> list[str]:
    """One line for all modules of one block that are treated alike."""

    def treatment(name: str) -> str:
        height, width = dilations[name]
        kind = "dispersed" if name in dispersed else "dilated"
        shared = ", by channels" if name in by_channels else ""
        filtered = ", low-passed" if name in low_passed else ""
        return f"{kind} × {height:g} high, {width:g} wide{shared}{filtered}"

    counts = Counter((block_of(name), treatment(name)) for name in dilations)
    return [f"  {block:<16} {count:>3} convolutions {how}" for (block, how), count in counts.items()]


def _window_table(sizes: dict[str, Pair]) -> list[str]:
    """One line for each run of self-attentions of one block that share a window."""
    rows = []
    for (block, (height, width)), names in groupby(sizes, key=lambda name: (block_of(name), sizes[name])):
        rows.append(f"  {block:<16} {len(list(names)):>3} attentions   at most {height} × {width} tokens")
    return rows


# The mild network of ND-CFG as published for SDXL at 4096² (ScaleCrafter, appendix).
_MILD_BLOCKS, _MILD = ("mid_block", "up_blocks.0"), (2.0, 2.0)


@dataclass(frozen=True)
class Changes:
    """What is different from a plan; None: as the plan says.

    Attributes:
        until, schedule: as for `Plan`.
        noise_damping: ND-CFG as given; True: the plan's own, or with the published mild network; False: none.
        dispersed: whether every dilated kernel is dispersed.
        low_pass: whether features are low-passed before every dilated convolution but those right behind an
            enlargement, whose input has no fast waves.
    """

    until: float | None = None
    schedule: Shape | None = None
    noise_damping: NoiseDamping | bool | None = None
    dispersed: bool | None = None
    low_pass: bool | None = None

    def of(self, plan: Plan) -> Plan:
        """`plan` with the changes; itself where there are none.

        Raises:
            RedilateError: for a value that no plan has.
        """
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
    """Those of the convolutions `names` that FouriScale filters before."""
    return sorted(name for name in names if ".upsamplers." not in name)
