"""What full-size models need at each size, counted from their structure; no weights and no work.

    python -m benchmarks.needs

Activations in float16 on a GPU, the autoencoder in float32 as SDXL's must be; `redilate plan` shows the same for a
model that is loaded.
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from diffusers import AutoencoderKL

from benchmarks.decode import SDXL
from redilate.pipelines.memory import memory_for
from tests.full_size import CONFIGURATIONS
from tests.models import tiny_sd15, tiny_sdxl


def main(
    models: Annotated[str, typer.Option(help="sd15, sd21, sdxl, separated by commas.")] = "sd15,sdxl",
    sides: Annotated[str, typer.Option(help="In pixels, separated by commas.")] = "1024,2048,4096",
) -> None:
    """Print one line for each model and side, in GiB."""
    print("| model | side | U-Net | sequential | decode | in strips |")
    print("|---|--:|--:|--:|--:|--:|")
    for model in models.split(","):
        pipe = tiny_sdxl() if model == "sdxl" else tiny_sd15()
        with torch.device("meta"):
            pipe.unet = type(pipe.unet)(**CONFIGURATIONS[model]).half()
            pipe.vae = AutoencoderKL(**SDXL)
        for side in sides.split(","):
            needed = memory_for(pipe, int(side), int(side), device="cuda")
            sizes = (needed.unet, needed.unet_sequential, needed.decode, needed.decode_strips)
            shown = " | ".join("–" if size is None else f"{size / 2**30:.2f}" for size in sizes)
            print(f"| {model} | {side} | {shown} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
