"""What the ablations in docs/results.md compare, as files for `redilate evaluate --variation NAME=FILE`.

    python -m benchmarks.variations --size 512x512 --out outputs/variations

`legs-…` differ from the default in what their names say: strength, dilation, guidance, tie. The others are plans at
strength 1, and each differs from `all-0.5` (every level dilated by the ratio, above noise level 0.5, held) in what its
name says.
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
from redilate import Hires, NoiseDamping, Plan
from redilate.generation.request import Variation
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


def legs() -> dict[str, Variation]:
    """Name → what a drawing in legs does differently from the default."""
    found = {}
    for strength in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8):
        found[f"legs-{strength}"] = Variation(strength=strength)
        found[f"legs-{strength}-plain"] = Variation(strength=strength, plan="none")
    found["legs-unguided"] = Variation(hires=Hires(guidance=1.0))
    found["legs-untied"] = Variation(hires=Hires(tie=0.0))
    found["legs-tied-to-the-end"] = Variation(hires=Hires(tie_until=2.0))
    return found


def whole(rounding: Callable[[float], int], ratio: tuple[float, float]) -> tuple[float, float]:
    """Both sides of `ratio`, rounded."""
    return float(rounding(ratio[0])), float(rounding(ratio[1]))


def main(
    size: Annotated[str, typer.Option(metavar="WxH", help="The size in pixels that the plans are for.")],
    out: Annotated[Path, typer.Option(help="The folder that they are written to.")],
    model: Annotated[
        str | None, typer.Option(help="Folder or hub name; without it, the bundled model.")
    ] = None,
) -> None:
    """Write one JSON file for each variation."""
    pipe = redilate.load(model, device="cpu")
    width, height = (int(side) for side in size.lower().split("x"))
    native = pipe.unet.config.sample_size * pipe.vae_scale_factor
    out.mkdir(parents=True, exist_ok=True)
    plans = variants(list(convolutions(pipe.unet)), (height / native, width / native))
    whole_size = {name: Variation(strength=1, plan=plan) for name, plan in plans.items()}
    for name, variation in (whole_size | legs()).items():
        variation.write(out / f"{name}.json")
        print(out / f"{name}.json")


if __name__ == "__main__":
    typer.run(main)
