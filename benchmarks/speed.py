"""Seconds, peak memory and evaluations of re-dilation, as ratios to direct inference in the same run.

    python -m benchmarks.speed                                             # the bundled model, CPU or GPU
    python -m benchmarks.speed --model sdxl --sizes 2048x2048,4096x4096    # full size, random weights: a GPU

For one evaluation of a full-size U-Net on a CPU: `python -m benchmarks.evaluation`.

Each row is a process of its own, so that its peak memory is its own. On a CPU the time is CPU time, which other work
on the machine does not stretch, and memory what the process held at its peak; on a GPU wall time and torch's peak.
`direct, NCHW` has the kernels in torch's order and not channels last, as `redilate.load` keeps them on a CPU.

`published form` is ScaleCrafter as its authors released it: the mild network of ND-CFG is evaluated on the whole guided
batch, four samples a step, and fractional dilations resize the features. Its settings are the published ones; for the
bundled model, which none were published for, every convolution by the ratio and the mid and first up block as mild. At
sizes that were published without ND-CFG it evaluates two samples a step, as direct inference does.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, cast

import torch
import typer

import redilate
from redilate import Generation, NoiseDamping, Plan
from redilate.core.guidance import GuidanceLayout
from redilate.core.patch import Patch, PatchContext
from redilate.pipelines.apply import noise_level_of
from redilate.plans.defaults import Family as DefaultsFamily
from redilate.plans.defaults import whole_plan
from redilate.plans.plan import block_of, convolutions
from redilate.plans.published import Family, published_plan
from redilate.rivals.registry import find
from tests.full_size import CONFIGURATIONS

UNTIL, REUSE = 0.3, 0.1
PROMPT = "a red apple"
PUBLISHED = "published form"
NCHW = "direct, NCHW"
BY_NAME = ("direct", "redilate", "hidiffusion")  # with settings of their own
ROWS = (
    "direct",
    NCHW,
    "strength 1",
    "nd-cfg, every step",
    "nd-cfg, Δ kept",
    PUBLISHED,
    "redilate",
    "hidiffusion",
)


def plan_of(row: str, model: str, unet: Any, ratio: tuple[float, float]) -> Plan:
    """What `row`, none of `BY_NAME`, does to the U-Net."""
    names = list(convolutions(unet))
    if row == PUBLISHED and model != "bundled":
        return published_plan(names, cast(Family, model), ratio)
    default = whole_plan(names, cast(DefaultsFamily, model), ratio)
    if row == "strength 1":
        return default
    mild = {name: ratio for name in names if block_of(name) in ("mid_block", "up_blocks.0")}
    damping = NoiseDamping(dilation=mild, until=UNTIL, reuse=REUSE if row.endswith("kept") else 0.0)
    if row == PUBLISHED:
        dilation = dict.fromkeys(names, ratio)
        return Plan(dilation=dilation, until=UNTIL, noise_damping=damping, fractional="published")
    return default.model_copy(update={"until": UNTIL, "noise_damping": damping})


@contextmanager
def four_evaluations(pipe: Any, plan: Plan) -> Iterator[None]:
    """`plan` at work on a pipeline that guides by [∅, c], whose mild network is evaluated on both.

    `redilate.apply` would ask the pipeline for its layout and evaluate ∅ alone: the same pictures for less.
    """
    both = GuidanceLayout(chunks=2, unconditional=0, whole=True)
    around = PatchContext(convolutions, lambda _size: plan, noise_level_of(pipe), guidance=lambda: both)
    patch = Patch(pipe.unet, around)
    patch.plan = plan
    try:
        yield
    finally:
        patch.remove()


def draw(row: str, model: str, pipe: Any, width: int, height: int, steps: int) -> Generation:
    """One picture, the way of `row`."""
    asked = {"width": width, "height": height, "steps": steps}
    if row == NCHW:
        pipe.unet.to(memory_format=torch.contiguous_format)
        row = "direct"
    if row in BY_NAME:
        return find(row)(pipe, PROMPT, **asked)
    native = pipe.unet.config.sample_size * pipe.vae_scale_factor
    plan = plan_of(row, model, pipe.unet, (max(1.0, height / native), max(1.0, width / native)))
    if row == PUBLISHED:
        with four_evaluations(pipe, plan):
            return redilate.generate(pipe, PROMPT, strength=1, **asked)
    return redilate.generate(pipe, PROMPT, strength=1, plan=plan, **asked)


def pipeline_of(model: str, device: str) -> Any:
    """The bundled model, or a family's full-size U-Net of random weights in the tests' tiny pipeline."""
    if model == "bundled":
        return redilate.load(device=device)
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from benchmarks.decode import SDXL
    from tests.models import tiny_sd15, tiny_sdxl

    pipe = tiny_sdxl() if model == "sdxl" else tiny_sd15()
    text, pooled = (16, 16) if model == "sdxl" else (8, 0)
    changes: dict[str, Any] = {"cross_attention_dim": text}
    if pooled:
        changes |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 8}
    pipe.unet = UNet2DConditionModel(**CONFIGURATIONS[model] | changes).eval()
    if device != "cpu":
        pipe.vae = AutoencoderKL(**SDXL).eval()
        pipe.to(torch.float16)
    return pipe.to(device)


def measure(
    model: str, row: str, width: int, height: int, steps: int, device: str, repeats: int
) -> dict[str, Any]:
    """Draw `repeats` times, in this process; the quickest counts."""
    pipe = pipeline_of(model, device)
    pipe.set_progress_bar_config(disable=True)
    samples = 0

    def count(_module: Any, args: tuple, _kwargs: dict) -> None:
        nonlocal samples
        samples += args[0].shape[0]

    pipe.unet.register_forward_pre_hook(count, with_kwargs=True)
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = []
    for _ in range(repeats):
        started = clock()
        draw(row, model, pipe, width, height, steps)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated()
    return {"seconds": min(seconds), "peak": peak, "samples": samples // repeats}


def main(
    model: Annotated[str, typer.Option(help="bundled, sd15 or sdxl.")] = "bundled",
    sizes: Annotated[str, typer.Option(help="WxH, separated by commas.")] = "256x256,512x512,1024x1024",
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 25,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; without it, a GPU if there is one.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="The best of so many is taken.")] = 1,
    rows: Annotated[str, typer.Option(help="Separated by semicolons; direct comes first.")] = ";".join(ROWS),
    row: Annotated[str | None, typer.Option(help="One row, in this process, as JSON.", hidden=True)] = None,
) -> None:
    """Print a table; each row's ratios are to direct inference at its size."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if row is not None:
        width, height = (int(side) for side in sizes.split("x"))
        print(json.dumps(measure(model, row, width, height, steps, device, repeats)))
        return
    print("| size | way | seconds | time ratio | peak MiB | peak ratio | samples evaluated |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for size in sizes.split(","):
        direct: dict[str, float] = {}
        for name in rows.split(";"):
            command = [sys.executable, "-m", "benchmarks.speed", "--model", model, "--sizes", size]
            command += ["--steps", str(steps), "--device", device, "--repeats", str(repeats), "--row", name]
            output = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ).stdout
            found = json.loads(output.splitlines()[-1])
            direct = direct or found
            print(
                f"| {size} | {name} | {found['seconds']:.1f} | {found['seconds'] / direct['seconds']:.2f} | "
                f"{found['peak'] / 2**20:.0f} | {found['peak'] / direct['peak']:.2f} | {found['samples']} |",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
