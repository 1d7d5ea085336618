"""Quality against time over the settings of a relay: what docs/relay.md shows and the defaults were chosen by.

    python -m benchmarks.relay --size 512x512 --count 8 --out outputs/relay
    python -m benchmarks.relay --size 1024x1024 --count 3 --only default,tie-0 --out outputs/relay
    python -m benchmarks.relay --size 512x512 --also 'mine={"noise": 0.25, "tie": 0.5}' --out outputs/relay
    python -m benchmarks.relay --size 512x512 --base untied.json --only base,noise-0.1,tie-1 --out outputs/relay

Each variant differs from the default stage, or from the one that `--base` describes, in what its name says; what comes
to the same as an earlier one is left out. Every native picture is drawn once and handed to all of them. Seconds are of
CPU time, native picture included, so that other jobs on the machine do not count; run with OMP_NUM_THREADS=1. One
folder of pictures, a sheet, a table and a JSON file for each size.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from scipy import ndimage

import redilate
from redilate import Relay, Stage
from redilate.evaluation.duplication import compare
from redilate.evaluation.features import feature_distance
from redilate.evaluation.prompts import BUNDLED, read_prompts
from redilate.evaluation.sheets import SheetRow, write_sheet
from redilate.generation.relay import Runner, unit_of
from redilate.generation.sizes import stage_sizes
from redilate.pipelines.native import native_size as native_size_of

Settings = dict[str, Any]  # fields of a Stage, and largest_scale

VARIANTS: dict[str, Settings] = {
    "noise-0.1": {"noise": 0.1},
    "noise-0.2": {"noise": 0.2},
    "noise-0.3": {"noise": 0.3},
    "noise-0.4": {"noise": 0.4},
    "noise-0.5": {"noise": 0.5},
    "steps-0.08": {"share": 0.08},
    "steps-0.25": {"share": 0.25},
    "steps-0.34": {"share": 0.34},
    "steps-0.5": {"share": 0.5},
    "guided": {"guidance": None},
    "unguided": {"guidance": 1.0},
    "noise-0.2-steps-0.17": {"noise": 0.2, "share": 0.17},
    "noise-0.2-steps-0.17-low": {"noise": 0.2, "share": 0.17, "colour": "low"},
    "noise-0.2-steps-0.25-unguided": {"noise": 0.2, "share": 0.25, "guidance": 1.0},
    "undilated": {"plan": "none"},
    "noise-0.4-undilated": {"noise": 0.4, "plan": "none"},
    "noise-0.4-steps-0.25-dilated-to-0.2": {"noise": 0.4, "share": 0.25, "until": 0.2},
    "bicubic": {"enlarge": "bicubic"},
    "latent-bicubic": {"enlarge": "latent-bicubic"},
    "latent-bilinear": {"enlarge": "latent-bilinear"},
    "tie-0": {"tie": 0.0},
    "tie-0.5": {"tie": 0.5},
    "tie-0.5-coarse": {"tie": 0.5, "tie_period": 4.0},
    "tie-1": {"tie": 1.0},
    "tie-coarse": {"tie": 1.0, "tie_period": 4.0},
    "moments": {"colour": "moments"},
    "low": {"colour": "low"},
    "one-jump": {"largest_scale": 4.0},
}
BASELINES = ("lanczos", "direct", "redilate")


@dataclass(frozen=True)
class Result:
    """One variant, averaged over the prompts.

    Attributes:
        distance: feature distance to the native pictures.
        edge: steepness of the sharpest edges, the 99.5th percentile of the gradient, over that of Lanczos.
        grain: mean deviation from the 3×3 mean where the native picture is smooth, in grey levels of 255.
        repeated: share of pictures with more objects than the native one.
        seconds: CPU time of a picture, and as a share of direct inference's.
    """

    name: str
    distance: float
    edge: float
    grain: float
    repeated: float
    seconds: float
    of_direct: float


def edge(image: Image.Image) -> float:
    """The 99.5th percentile of the gradient's length, in grey levels a pixel."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    return float(np.percentile(np.hypot(*np.gradient(grey)), 99.5))


def grain(image: Image.Image, reference: Image.Image) -> float:
    """How far pixels are from their neighbours' mean where `reference`, of the same size, has no edge."""
    grey, smooth = (np.asarray(one.convert("L"), dtype=np.float32) for one in (image, reference))
    flat = ndimage.maximum_filter(np.hypot(*np.gradient(smooth)), 9) < 4
    return float(np.abs(grey - ndimage.uniform_filter(grey, 3))[flat].mean())


def relay_of(settings: Settings) -> Relay:
    """The default relay with `settings` in every one of its stages, or as its `largest_scale`."""
    settings = dict(settings)
    scale = {key: settings.pop(key) for key in ("largest_scale",) if key in settings}
    stages = [Stage.model_validate(stage.model_dump() | settings) for stage in Relay().stages]
    return Relay(stages=tuple(stages), **scale)


def distinct(variants: dict[str, Settings], come_to: Callable[[Settings], object]) -> dict[str, Settings]:
    """Without those that `come_to` the same as an earlier one."""
    found: list[object] = []
    kept: dict[str, Settings] = {}
    for name, settings in variants.items():
        if (outcome := come_to(settings)) not in found:
            found.append(outcome)
            kept[name] = settings
    return kept


def timed(draw: Callable[[], Image.Image]) -> tuple[Image.Image, float]:
    """A picture, and the CPU seconds that it took."""
    started = time.process_time()
    return draw(), time.process_time() - started


class Bench:
    """All that is drawn at one size."""

    def __init__(self, pipe: Any, size: tuple[int, int], prompts: list[str], steps: int, guidance: float):
        self.pipe, self.size, self.prompts = pipe, size, prompts
        self.asked = {"steps": steps, "guidance": guidance}
        drawn = [
            timed(lambda seed=seed: self._generate(seed, None, None, "direct"))
            for seed in range(len(prompts))
        ]
        self.native = [image for image, _ in drawn]
        self.native_seconds = float(np.mean([seconds for _, seconds in drawn]))

    def _generate(self, seed: int, width: int | None, height: int | None, method: Any) -> Image.Image:
        made = redilate.generate(
            self.pipe,
            self.prompts[seed],
            width=width,
            height=height,
            seed=seed,
            method=method,
            mode="single",
            **self.asked,
        )
        return made.images[0]

    def come_to(self, settings: Settings) -> tuple[object, ...]:
        """What sets one relay apart from another at this size: `largest_scale` matters where it makes other stages."""
        relay, native = relay_of(settings), (self.native[0].height, self.native[0].width)
        target = (self.size[1], self.size[0])
        sizes = stage_sizes(
            native, target, native_size_of(self.pipe), relay.largest_scale, unit_of(self.pipe)
        )
        return relay.stages, sizes

    def draw(self, name: str, settings: Settings) -> list[tuple[Image.Image, float]]:
        """Every prompt's picture, with its seconds."""
        width, height = self.size
        if name == "lanczos":
            enlarge = [
                timed(lambda one=one: one.resize(self.size, Image.Resampling.LANCZOS)) for one in self.native
            ]
            return [(image, seconds + self.native_seconds) for image, seconds in enlarge]
        if name in BASELINES:
            return [
                timed(lambda seed=seed: self._generate(seed, width, height, name))
                for seed in range(len(self.prompts))
            ]
        native = self.native[0]
        runner = Runner(
            self.pipe, relay_of(settings), (native.height, native.width), (height, width), **self.asked
        )
        drawn = []
        for seed, prompt in enumerate(self.prompts):
            image, seconds = timed(
                lambda seed=seed, prompt=prompt: runner.run(
                    self.native[seed], prompt=prompt, negative=None, seed=seed
                )
            )
            drawn.append((image, seconds + self.native_seconds))
        return drawn

    def measure(self, name: str, drawn: list[tuple[Image.Image, float]], direct: float) -> Result:
        """The averages; `direct` in seconds."""
        smooth = [one.resize(self.size, Image.Resampling.LANCZOS) for one in self.native]
        images = [image for image, _ in drawn]
        seconds = float(np.mean([taken for _, taken in drawn]))
        pairs = list(zip(self.native, images, strict=True))
        return Result(
            name,
            float(np.mean([feature_distance(*pair) for pair in pairs])),
            float(np.mean([edge(b) / max(edge(a), 1.0) for a, b in zip(smooth, images, strict=True)])),
            float(np.mean([grain(b, a) for a, b in zip(smooth, images, strict=True)])),
            float(np.mean([compare(*pair).repeated for pair in pairs])),
            seconds,
            seconds / direct if direct else float("nan"),
        )


def table(results: list[Result]) -> str:
    """As Markdown."""
    lines = [
        "| settings | feature distance | edges against Lanczos | grain | repeated | s | of direct |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in results:
        lines.append(
            f"| {one.name} | {one.distance:.3f} | {one.edge:.2f} | {one.grain:.2f} | {one.repeated:.0%} "
            f"| {one.seconds:.1f} | {one.of_direct:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(
    out: Annotated[Path, typer.Option(help="The folder for pictures, sheet, table and JSON.")],
    size: Annotated[str, typer.Option(metavar="WxH")] = "512x512",
    count: Annotated[int, typer.Option(help="How many prompts.")] = 8,
    steps: Annotated[int, typer.Option(help="At the native size.")] = 12,
    guidance: Annotated[float, typer.Option()] = 3.0,
    only: Annotated[str | None, typer.Option(help="Names of variants, separated by commas.")] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON-FILE", help="Settings that every variant starts from, as --also has them."
        ),
    ] = None,
    also: Annotated[list[str] | None, typer.Option(metavar="NAME=JSON", help="Further variants.")] = None,
    direct: Annotated[bool, typer.Option(help="Draw the two one-stage baselines too.")] = True,
    prompts: Annotated[Path, typer.Option()] = BUNDLED,
    model: Annotated[str | None, typer.Option(help="Without it, the bundled model.")] = None,
) -> None:
    """Draw, measure, and print the table."""
    common: Settings = {} if base is None else json.loads(base.read_text(encoding="utf-8"))
    changes = {"default" if base is None else "base": {}} | VARIANTS
    if only is not None:
        changes = {name: changes[name] for name in only.split(",") if name}
    changes |= {name: json.loads(text) for name, _, text in (one.partition("=") for one in also or [])}
    variants = {name: common | change for name, change in changes.items()}
    texts = read_prompts(prompts)[:count]
    width, height = (int(side) for side in size.split("x"))
    pipe = redilate.load(model, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    bench = Bench(pipe, (width, height), texts, steps, guidance)
    variants = distinct(variants, bench.come_to)
    names = [*(BASELINES[1:] if direct else ()), BASELINES[0], *variants]
    folder = out / size
    paths: dict[str, list[Path]] = {"native": []}
    folder.mkdir(parents=True, exist_ok=True)
    for seed, image in enumerate(bench.native):
        paths["native"].append(folder / f"{seed:03}-native.png")
        image.save(paths["native"][-1])
    results: list[Result] = []
    for name in names:
        drawn = bench.draw(name, variants.get(name, {}))
        seconds = results[0].seconds if results and direct else 0.0
        seconds = float(np.mean([taken for _, taken in drawn])) if name == "direct" else seconds
        results.append(bench.measure(name, drawn, seconds))
        paths[name] = [folder / f"{seed:03}-{name}.png" for seed in range(len(drawn))]
        for path, (image, _) in zip(paths[name], drawn, strict=True):
            image.save(path)
        print(table(results[-1:]).splitlines()[-1], flush=True)
        content = {
            "asked": bench.asked,
            "prompts": texts,
            "settings": variants,
            "results": [asdict(one) for one in results],
        }
        (folder / "relay.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / "relay.md").write_text(table(results), encoding="utf-8")
    rows = [
        SheetRow(text, tuple(paths[name][seed] for name in paths), ("",) * len(paths))
        for seed, text in enumerate(texts)
    ]
    write_sheet(folder / "sheet.png", list(paths), rows)


if __name__ == "__main__":
    typer.run(main)
