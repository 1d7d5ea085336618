"""The exact decode (or encode) in strips against the untiled one: largest difference, peak memory, time.

    python -m benchmarks.decode --size 2048x2048
    python -m benchmarks.decode --size 1024x1024 --bundled --encode
    python -m benchmarks.decode --size 4096x4096 --count    # the work on a GPU, without doing it

SDXL's autoencoder at full size with random weights (no download), in float32 on a CPU, each way in a process of its
own. The last layer is scaled so that the picture spreads over [−1, 1] as a trained one's does: a difference means
what it would there. With --bundled, the bundled model's. Time is CPU time, which a busy machine does not stretch, with
the kernel's part of it; memory is the process's peak.
"""

from __future__ import annotations

import json
import os
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
from torch.utils.flop_counter import FlopCounterMode

import redilate
from redilate.decoding.decode import posterior_of, strip_bytes
from redilate.decoding.passes import Limits, run
from redilate.decoding.steps import decoder_steps, encoder_steps

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


def measure(
    way: Way, width: int, height: int, bundled: bool, encoding: bool, pool: int, save: Path
) -> dict[str, float]:
    """Decode (or encode) once, in this process; the result goes to `save`."""
    vae = redilate.load().vae if bundled else full_size_autoencoder()
    generator = torch.Generator().manual_seed(1)
    if encoding:
        given = torch.rand(1, 3, height, width, generator=generator) * 2 - 1
        own, ours = (
            (lambda: vae.encode(given).latent_dist.mode()),
            (lambda: posterior_of(vae, given, pool=pool)[:, :4]),
        )
    else:
        given = torch.randn(1, 4, height // 8, width // 8, generator=generator)
        own, ours = (
            (lambda: vae.decode(given).sample.clamp(-1, 1)),
            (lambda: redilate.decode(vae, given, scaled=False)),
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, wall = os.times(), time.monotonic()
    result = own() if way == "untiled" else ours()
    end, wall = os.times(), time.monotonic() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.save(result, save)
    user, system = end.user - start.user, end.system - start.system
    figures = {"cpu_s": user + system, "system_s": system, "wall_s": wall}
    return figures | {"peak_mib": peak / 1024, "before_mib": before / 1024}


def count(way: Way, width: int, height: int, encoding: bool, pool: int) -> tuple[float, float]:
    """TFLOP of SDXL's autoencoder, its strips as a GPU has them: (in all, in the mid block's attention)."""
    with torch.device("meta"):
        vae = AutoencoderKL(**SDXL).eval()
    half = vae.encoder if encoding else vae.decoder
    given = torch.empty(1, 3, height, width) if encoding else torch.empty(1, 4, height // 8, width // 8)
    given = given.to("meta")
    with FlopCounterMode(display=False) as counted:
        if way == "untiled":
            half(given)
        else:
            steps = encoder_steps(vae, pool) if encoding else decoder_steps(vae)
            last = (half.conv_norm_out, half.conv_out)
            for _ in run(steps, last, given, Limits(strip_bytes(torch.device("cuda"))), lambda _: None):
                pass
    by_kind = {str(kind): work / 1e12 for kind, work in counted.get_flop_counts()["Global"].items()}
    return sum(by_kind.values()), sum(
        work for kind, work in by_kind.items() if "bmm" in kind or "attention" in kind
    )


def main(
    size: Annotated[str, typer.Option(metavar="WxH", help="In pixels, multiples of 8.")] = "1024x1024",
    bundled: Annotated[bool, typer.Option("--bundled", help="The bundled model's autoencoder.")] = False,
    encode: Annotated[bool, typer.Option("--encode", help="Encode in place of decoding.")] = False,
    pool: Annotated[
        int,
        typer.Option(min=1, help="Pixels per side that share a key, as a large leg encodes an enlargement."),
    ] = 1,
    counted: Annotated[bool, typer.Option("--count", help="Count the work of SDXL's instead.")] = False,
    only: Annotated[str | None, typer.Option(help="untiled or strips, in this process.")] = None,
    save: Annotated[Path | None, typer.Option(help="Where --only leaves its picture.")] = None,
) -> None:
    """Print one line for each way and the ratios."""
    width, height = (int(side) for side in size.lower().split("x"))
    if counted:
        with torch.inference_mode():
            for way in ("untiled", "strips"):
                work, attention = count(way, width, height, encode, pool)
                print(f"{way:8} {work:7.1f} TFLOP, {attention:.1f} of it attention")
        return
    if only is not None and save is not None:
        with torch.inference_mode():
            way: Way = "untiled" if only == "untiled" else "strips"
            print(json.dumps(measure(way, width, height, bundled, encode, pool, save)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows, pictures = {}, {}
        for way in ("untiled", "strips"):
            path = Path(folder, f"{way}.pt")
            command = [sys.executable, __file__, "--size", size, "--only", way, "--save", str(path)]
            command += ["--bundled"] * bundled + ["--encode"] * encode + ["--pool", str(pool)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            rows[way] = json.loads(printed.splitlines()[-1])
            pictures[way] = torch.load(path)
            print(
                f"{way:8} {rows[way]['cpu_s']:8.2f} s CPU (kernel {rows[way]['system_s']:.2f}) "
                f"{rows[way]['peak_mib']:8.0f} MiB peak",
                flush=True,
            )
    difference = (pictures["untiled"] - pictures["strips"]).abs().max()
    print(
        f"strips / untiled: time {rows['strips']['cpu_s'] / rows['untiled']['cpu_s']:.2f}, "
        f"peak {rows['strips']['peak_mib'] / rows['untiled']['peak_mib']:.2f}, largest difference {difference:.1e}"
    )


if __name__ == "__main__":
    typer.run(main)
