"""The exact decode in strips against the untiled one: largest difference, peak memory, time.

    python benchmarks/decode.py --size 2048x2048

SDXL's autoencoder at full size with random weights (no download), in float32 on a CPU, each way in a process of its
own. The last layer is scaled so that the picture spreads over [−1, 1] as a trained one's does: a difference means
what it would there. Time is CPU time, which a busy machine does not stretch; memory is the process's peak.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from diffusers import AutoencoderKL

import redilate

SDXL = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
SPREAD = 0.5  # standard deviation of a picture's values

Way = Literal["untiled", "strips"]


def full_size_autoencoder() -> AutoencoderKL:
    """SDXL's autoencoder with random weights whose pictures have the values of pictures."""
    torch.manual_seed(0)
    vae = AutoencoderKL(**SDXL).eval()
    picture = vae.decode(torch.randn(1, 4, 16, 16)).sample
    vae.decoder.conv_out.weight.data *= SPREAD / picture.std()
    vae.decoder.conv_out.bias.data.zero_()
    return vae


def measure(way: Way, width: int, height: int, save: Path) -> dict[str, float]:
    """Decode once, in this process; the picture goes to `save`."""
    vae = full_size_autoencoder()
    latents = torch.randn(1, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.monotonic(), time.process_time()
    if way == "untiled":
        picture = vae.decode(latents).sample.clamp(-1, 1)
    else:
        picture = redilate.decode(vae, latents)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.save(picture, save)
    return {"cpu_s": cpu, "wall_s": wall, "peak_mib": peak / 1024, "before_mib": before / 1024}


def main(
    size: Annotated[str, typer.Option(metavar="WxH", help="In pixels, multiples of 8.")] = "1024x1024",
    only: Annotated[str | None, typer.Option(help="untiled or strips, in this process.")] = None,
    save: Annotated[Path | None, typer.Option(help="Where --only leaves its picture.")] = None,
) -> None:
    """Print one line for each way and the ratios."""
    width, height = (int(side) for side in size.lower().split("x"))
    if only is not None and save is not None:
        with torch.inference_mode():
            print(json.dumps(measure("untiled" if only == "untiled" else "strips", width, height, save)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows, pictures = {}, {}
        for way in ("untiled", "strips"):
            path = Path(folder, f"{way}.pt")
            command = [sys.executable, __file__, "--size", size, "--only", way, "--save", str(path)]
            rows[way] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            pictures[way] = torch.load(path)
            print(
                f"{way:8} {rows[way]['cpu_s']:8.1f} s CPU {rows[way]['peak_mib']:8.0f} MiB peak", flush=True
            )
    difference = (pictures["untiled"] - pictures["strips"]).abs().max()
    print(
        f"strips / untiled: time {rows['strips']['cpu_s'] / rows['untiled']['cpu_s']:.2f}, "
        f"peak {rows['strips']['peak_mib'] / rows['untiled']['peak_mib']:.2f}, largest difference {difference:.1e}"
    )


if __name__ == "__main__":
    typer.run(main)
