"""Single options in place of a plan's own: what `redilate.apply` takes flat, besides a whole plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from ..core.schedule import Shape
from ..errors import RedilateError
from .plan import NoiseDamping, Plan
from .structure import block_of

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
