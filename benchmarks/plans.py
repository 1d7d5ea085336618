"""The plans that the ablation in docs/results.md compares, as files for `redilate evaluate --plan NAME=FILE`.

    python -m benchmarks.plans --size 512x512 --out outputs/plans

Each differs from `all-0.5` (every level dilated by the ratio, above noise level 0.5, held) in what its name says.
ND-CFG works its Δ out at every evaluation but in `…-kept-0.1` and `…-kept-0.2`, which keep it for so much of the noise
level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import redilate
from redilate import NoiseDamping, Plan
from redilate.plans.structure import block_of, convolutions, count_levels, level_of


def variants(names: list[str], ratio: tuple[float, float]) -> dict[str, Plan]:
    """Name → plan, for the convolutions `names` of a U-Net and a target `ratio` (height, width) times native."""
    levels = count_levels(names)
    everywhere = dict.fromkeys(names, ratio)
    inner = {name: ratio for name in names if level_of(name, levels) > 0}
    spare_up = {name: ratio for name in names if not name.startswith("up_blocks")}
    mild = {name: ratio for name in names if block_of(name) in ("mid_block", "up_blocks.0")}
    base = Plan(dilation=everywhere, until=0.5)

    def changed(**fields: object) -> Plan:
        return Plan.model_validate(base.model_dump() | fields)

    def damped(until: float, dilation: dict[str, tuple[float, float]], reuse: float = 0.0) -> NoiseDamping:
        return NoiseDamping(dilation=dilation, until=until, reuse=reuse)

    return {
        "all-0.5": base,
        "all-0.3": changed(until=0.3),
        "all-0.7": changed(until=0.7),
        "inner-0.5": changed(dilation=inner),
        "spare-up-0.5": changed(dilation=spare_up),
        "dispersed-0.5": changed(dispersed=list(everywhere)),
        "nd-mild-0.5": changed(noise_damping=damped(0.5, mild)),
        "nd-plain-0.5": changed(noise_damping=damped(0.5, {})),
        "nd-mild-0.3": changed(until=0.3, noise_damping=damped(0.3, mild)),
        "nd-mild-0.3-kept-0.1": changed(until=0.3, noise_damping=damped(0.3, mild, 0.1)),
        "nd-mild-0.3-kept-0.2": changed(until=0.3, noise_damping=damped(0.3, mild, 0.2)),
        "progressive-0.3": changed(until=0.3, schedule="progressive"),
        "smooth-0.3": changed(until=0.3, schedule="smooth"),
        "channels-0.5": changed(fractional="channels"),
        "published-form-0.5": changed(fractional="published"),
        "rounded-down-0.5": changed(dilation=dict.fromkeys(names, whole(math.floor, ratio))),
        "rounded-up-0.5": changed(dilation=dict.fromkeys(names, whole(math.ceil, ratio))),
        "in-turn-0.5": changed(
            dilation={
                name: whole(math.floor if index % 2 else math.ceil, ratio) for index, name in enumerate(names)
            }
        ),
    }


def whole(rounding: Callable[[float], int], ratio: tuple[float, float]) -> tuple[float, float]:
    """Both sides of `ratio`, rounded."""
    return float(rounding(ratio[0])), float(rounding(ratio[1]))


def main(
    size: Annotated[str, typer.Option(metavar="WxH", help="The size in pixels that the plans are for.")],
    out: Annotated[Path, typer.Option(help="The folder that the plans are written to.")],
    model: Annotated[
        str | None, typer.Option(help="Folder or hub name; without it, the bundled model.")
    ] = None,
) -> None:
    """Write one JSON file for each variant."""
    pipe = redilate.load(model, device="cpu")
    width, height = (int(side) for side in size.lower().split("x"))
    native = pipe.unet.config.sample_size * pipe.vae_scale_factor
    out.mkdir(parents=True, exist_ok=True)
    for name, plan in variants(list(convolutions(pipe.unet)), (height / native, width / native)).items():
        plan.write(out / f"{name}.json")
        print(out / f"{name}.json")


if __name__ == "__main__":
    typer.run(main)
