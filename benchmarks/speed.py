"""Seconds, peak memory and evaluations of re-dilation, as ratios to direct inference in the same run.

    python -m benchmarks.speed                                             # the bundled model, CPU or GPU
    python -m benchmarks.speed --model sdxl --sizes 2048x2048,4096x4096    # full size, random weights: a GPU

For one evaluation of a full-size U-Net on a CPU: `python -m benchmarks.evaluation`.

Each row is a process of its own, so that its peak memory is its own. On a CPU the time is CPU time, which other work
on the machine does not stretch, and memory what the process held at its peak; on a GPU wall time and torch's peak.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Annotated, Any

import torch
import typer

import redilate
from redilate import NoiseDamping, Plan
from redilate.plans.structure import block_of, convolutions
from tests.full_size import CONFIGURATIONS

UNTIL, REUSE = 0.3, 0.1
ROWS = ("direct", "redilate", "nd-cfg, every step", "nd-cfg, Δ kept")


def plan_of(row: str, unet: Any, ratio: tuple[float, float]) -> Plan | None:
    """What `row` does to the U-Net; None for direct inference."""
    if row == "direct":
        return None
    names = list(convolutions(unet))
    mild = {name: ratio for name in names if block_of(name) in ("mid_block", "up_blocks.0")}
    damping = None
    if row.startswith("nd-cfg"):
        damping = NoiseDamping(dilation=mild, until=UNTIL, reuse=REUSE if row.endswith("kept") else 0.0)
    return Plan(dilation=dict.fromkeys(names, ratio), until=UNTIL, noise_damping=damping)


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


def measure(model: str, row: str, width: int, height: int, steps: int, device: str) -> dict[str, Any]:
    """Draw once, in this process."""
    pipe = pipeline_of(model, device)
    pipe.set_progress_bar_config(disable=True)
    native = pipe.unet.config.sample_size * pipe.vae_scale_factor
    plan = plan_of(row, pipe.unet, (max(1.0, height / native), max(1.0, width / native)))
    samples = 0

    def count(_module: Any, args: tuple, _kwargs: dict) -> None:
        nonlocal samples
        samples += args[0].shape[0]

    pipe.unet.register_forward_pre_hook(count, with_kwargs=True)
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    redilate.generate(
        pipe,
        "a red apple",
        width=width,
        height=height,
        steps=steps,
        method="direct" if plan is None else "redilate",
        plan=plan,
    )
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = clock() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated()
    return {"seconds": seconds, "peak": peak, "samples": samples}


def main(
    model: Annotated[str, typer.Option(help="bundled, sd15 or sdxl.")] = "bundled",
    sizes: Annotated[str, typer.Option(help="WxH, separated by commas.")] = "256x256,512x512,1024x1024",
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 25,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; without it, a GPU if there is one.")
    ] = None,
    row: Annotated[str | None, typer.Option(help="One row, in this process, as JSON.", hidden=True)] = None,
) -> None:
    """Print a table; each row's ratios are to direct inference at its size."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if row is not None:
        width, height = (int(side) for side in sizes.split("x"))
        print(json.dumps(measure(model, row, width, height, steps, device)))
        return
    print("| size | way | seconds | time ratio | peak MiB | peak ratio | samples evaluated |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for size in sizes.split(","):
        direct: dict[str, float] = {}
        for name in ROWS:
            command = [sys.executable, "-m", "benchmarks.speed", "--model", model, "--sizes", size]
            command += ["--steps", str(steps), "--device", device, "--row", name]
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
