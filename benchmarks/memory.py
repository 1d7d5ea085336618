"""The estimate of memory against what a process held at its peak, on a CPU.

    python -m benchmarks.memory                      # tiny, middling and bundled U-Nets, bundled decode
    python -m benchmarks.memory --parts redilated-unet --sides 640  # the bundled one between whole multiples
    python -m benchmarks.memory --parts sd15-unet    # Stable Diffusion 1.5's U-Net: 3.4 GB of weights in float32

Each line is a process of its own: its peak resident memory during one U-Net evaluation of a guided batch, or one
decode, less what it held before.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from diffusers import UNet2DConditionModel

import redilate
from redilate.pipelines.memory import memory_for
from tests.full_size import CONFIGURATIONS
from tests.models import tiny_sd15

MIDDLING = {"block_out_channels": (96, 192, 384, 384), "cross_attention_dim": 8, "attention_head_dim": 8}
PARTS = ("tiny-unet", "middling-unet", "bundled-unet", "redilated-unet", "bundled-decode", "bundled-strips")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@torch.inference_mode()
def measure(part: str, side: int) -> dict[str, int]:
    """(estimated, measured) bytes of one evaluation at side × side pixels, in this process."""
    pipe: Any = redilate.load(device="cpu") if part.startswith(("bundled", "redilated")) else tiny_sd15()
    plan = redilate.plan_for(pipe, width=side, height=side) if part.startswith("redilated") else None
    if part == "middling-unet":
        pipe.unet = UNet2DConditionModel(**MIDDLING).eval()
    if part == "sd15-unet":
        pipe.unet = UNet2DConditionModel(**CONFIGURATIONS["sd15"] | {"cross_attention_dim": 8}).eval()
    estimate = memory_for(pipe, side, side)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, side // 8, side // 8)

    def run(at: torch.Tensor) -> object:
        if part.endswith("strips"):
            return redilate.decode(pipe, at, scaled=False)
        if part.endswith("decode"):
            return pipe.vae.decode(at)
        pixels = 8 * at.shape[-1]
        return pipe(
            "a", width=pixels, height=pixels, num_inference_steps=1, output_type="latent", guidance_scale=3
        )

    run(latents[..., :16, :16])  # what a library sets up at its first use is not the picture's
    before = _resident()
    with contextlib.nullcontext() if plan is None else redilate.apply(pipe, plan):
        run(latents)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    expected = {"strips": estimate.decode_strips, "decode": estimate.decode}.get(
        part.split("-")[1], estimate.unet
    )
    assert expected is not None
    return {"estimated": expected, "measured": peak - before}


def main(
    parts: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(PARTS),
    sides: Annotated[str, typer.Option(help="In pixels, separated by commas.")] = "512,1024",
    only: Annotated[str | None, typer.Option(help="One part, in this process, as JSON.", hidden=True)] = None,
) -> None:
    """Print one line for each part and side."""
    if only is not None:
        print(json.dumps(measure(only, int(sides))))
        return
    print("| what | side | estimated MiB | measured MiB | measured / estimated |")
    print("|---|--:|--:|--:|--:|")
    for part in parts.split(","):
        for side in sides.split(","):
            command = [sys.executable, "-m", "benchmarks.memory", "--sides", side, "--only", part]
            output = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ).stdout
            found = json.loads(output.splitlines()[-1])
            print(
                f"| {part} | {side} | {found['estimated'] / 2**20:.0f} | {found['measured'] / 2**20:.0f} | "
                f"{found['measured'] / found['estimated']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
