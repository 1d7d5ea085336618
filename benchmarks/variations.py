"""What docs/results.md and docs/studies compare, as files for `redilate evaluate --variation NAME=FILE`.

    python -m benchmarks.variations --size 512x512 --out outputs/variations

`legs-…` differ from the default in what their names say: strength, dilation, guidance, tie. `whole-…` are plans at
strength 1: which levels are dilated and until which noise level, held unless the name says otherwise. The rest are the
other methods' settings that were searched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import redilate
from redilate import Hires, NoiseDamping, Plan
from redilate.evaluation.tasks import Variation
from redilate.plans.defaults import leg_plan
from redilate.plans.plan import convolutions, count_resolution_levels, low_passed, resolution_level


def variants(names: list[str], ratio: tuple[float, float]) -> dict[str, Plan]:
    """Name → plan, for the convolutions `names` of a U-Net and a target `ratio` (height, width) times native."""
    levels = count_resolution_levels(names)
    everywhere = dict.fromkeys(names, ratio)
    inner = {name: ratio for name in names if resolution_level(name, levels) > 0}
    base = Plan(dilation=inner, until=0.0)

    def changed(**fields: object) -> Plan:
        return Plan.model_validate(base.model_dump() | fields)

    def damped(until: float, dilation: dict[str, tuple[float, float]]) -> NoiseDamping:
        return NoiseDamping(dilation=dilation, until=until)

    return {
        "inner-0": base,
        "inner-0.3": changed(until=0.3),
        "inner-0.5": changed(until=0.5),
        "all-0": changed(dilation=everywhere),
        "all-0.3": changed(dilation=everywhere, until=0.3),
        "all-0.5": changed(dilation=everywhere, until=0.5),
        "down-mid-0": changed(dilation={name: ratio for name in inner if not name.startswith("up_blocks")}),
        "freescale-0.3": leg_plan(names, "sdxl", ratio),
        "freescale-0": leg_plan(names, "sdxl", ratio).model_copy(update={"until": 0.0}),
        "inner-0-low-pass": changed(low_passed=low_passed(inner)),
        "inner-0.3-low-pass": changed(until=0.3, low_passed=low_passed(inner)),
        "all-0-low-pass": changed(dilation=everywhere, low_passed=low_passed(everywhere)),
        "inner-0-dispersed": changed(dispersed=list(inner)),
        "inner-0-damped": changed(noise_damping=damped(0.0, {})),
        "all-0-damped": changed(dilation=everywhere, noise_damping=damped(0.0, inner)),
        "inner-0-progressive": changed(schedule="progressive"),
        "inner-0.3-smooth": changed(until=0.3, schedule="smooth"),
    }


def legs(plans: dict[str, Plan]) -> dict[str, Variation]:
    """Name → what a drawing in legs does differently from the default; `plans` are for its last leg."""
    found = {}
    for strength in (0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8):
        found[f"legs-{strength}"] = Variation(strength=strength)
        found[f"legs-{strength}-plain"] = Variation(strength=strength, plan="none")
    found["legs-plain"] = Variation(plan="none")
    found["legs-guided"] = Variation(hires=Hires(guidance=3.0))
    found["legs-unguided"] = Variation(hires=Hires(guidance=1.0))
    found["legs-untied"] = Variation(hires=Hires(tie=0.0))
    found["legs-fading"] = Variation(hires=Hires(tie_until=0.5))
    found["legs-no-floor"] = Variation(hires=Hires(noise_floor=0.0))
    # A floor above all that a leg changes: the autoencoder's round trip of the enlarged picture alone.
    found["legs-nothing-kept"] = Variation(hires=Hires(noise_floor=1000.0))
    found["legs-upscaler"] = Variation(hires=Hires(enlarge="realesr-animevideov3"))
    return found | {f"legs-{name}": Variation(plan=plan) for name, plan in plans.items()}


def others() -> dict[str, Variation]:
    """Name → another method with settings that its paper does not have."""

    def of(method: str, **settings: Any) -> Variation:
        return Variation.model_validate({"method": method, "settings": settings})

    found = {}
    for levels in ("published", "inner", "all"):
        for name, fall in {"": None, "-late": [0.3, 0.1], "-held": [0.0, 0.0]}.items():
            if (levels, fall) != ("published", None):
                found[f"fouriscale-{levels}{name}"] = of("fouriscale", levels=levels, fall=fall)
    for first in (0.2, 0.6, 0.8, 1.0):
        found[f"hidiffusion-{first}"] = of("hidiffusion", switches=[first, first / 2])
    for skip in (1.5, 6.0):
        found[f"demofusion-skip-{skip}"] = of("demofusion", skip=skip)
    for stride in (0.125, 0.5):
        found[f"multidiffusion-{stride}"] = of("multidiffusion", stride=stride)
    return found


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
    whole = {f"whole-{name}": Variation(strength=1, plan=plan) for name, plan in plans.items()}
    for name, variation in (whole | legs(plans) | others()).items():
        variation.write(out / f"{name}.json")
        print(out / f"{name}.json")


if __name__ == "__main__":
    typer.run(main)
