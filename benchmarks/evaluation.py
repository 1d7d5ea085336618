"""One evaluation of a full-size U-Net: plain, re-dilated by default and as published, in turn in the same process.

    python -m benchmarks.evaluation --model sd15 --size 1024x1024
    python -m benchmarks.evaluation --model sdxl --size 1024x1024 --native 512 --samples 1

Random weights, no download. Ratios are medians over the rounds of each way's CPU time (a GPU: wall time) to that of
the plain evaluation in the same round. The published plan has ND-CFG, which wants a guided pair and evaluates one
sample more; with one sample it is left out. On Linux the first column of memory is the plain evaluation's growth of
the process, beside what `redilate plan` would have said.
"""

from __future__ import annotations

import gc
import re
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from diffusers import UNet2DConditionModel

import redilate
from redilate.core.guidance import GuidanceLayout
from redilate.pipelines.memory import unet_bytes
from tests.full_size import CONFIGURATIONS
from tests.models import tiny_sd15, tiny_sdxl

WAYS = ("plain", "default", "published")
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
STATUS = Path("/proc/self/status")


def pipeline_of(model: str, device: str, dtype: torch.dtype) -> Any:
    """The tests' tiny pipeline around a full-size U-Net, its weights drawn once and repeated: seconds, not minutes."""
    pipe = tiny_sdxl() if model == "sdxl" else tiny_sd15()
    with torch.device("meta"):
        unet = UNet2DConditionModel(**CONFIGURATIONS[model])
    unet = torch.nn.Module.to(unet, dtype).to_empty(device=device).eval()
    drawn = 0.02 * torch.randn(2**20, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    for weight in unet.parameters():
        flat = weight.data.view(-1)
        for start in range(0, flat.numel(), drawn.numel()):
            part = flat[start : start + drawn.numel()]
            part.copy_(drawn[: part.numel()])
    pipe.unet = unet
    return pipe


def inputs(
    model: str, samples: int, size: tuple[int, int], device: str, dtype: torch.dtype
) -> dict[str, Any]:
    """What the U-Net is called with, at the first noise level."""
    config = CONFIGURATIONS[model]
    shapes: dict[str, tuple[int, ...]] = {"sample": (samples, 4, size[0] // 8, size[1] // 8)}
    shapes["encoder_hidden_states"] = (samples, 77, config["cross_attention_dim"])
    if model == "sdxl":
        shapes |= {"text_embeds": (samples, 1280), "time_ids": (samples, 6)}
    drawn = {name: torch.randn(shape).to(device, dtype) for name, shape in shapes.items()}
    given: dict[str, Any] = {name: drawn.pop(name) for name in ("sample", "encoder_hidden_states")}
    return given | {"timestep": 999} | ({"added_cond_kwargs": drawn} if drawn else {})


def resident(name: str) -> int:
    """Bytes of one of the process's sizes in memory."""
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


@torch.inference_mode()
def evaluate(unet: Any, given: dict[str, Any], device: str) -> tuple[float, int]:
    """(seconds, bytes by which memory grew at its peak) of one evaluation."""
    gc.collect()
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")
        before, started = resident("VmRSS"), time.process_time()
        unet(**given)
        return time.process_time() - started, resident("VmHWM") - before
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, started = torch.cuda.memory_allocated(), time.perf_counter()
    unet(**given)
    torch.cuda.synchronize()
    return time.perf_counter() - started, torch.cuda.max_memory_allocated() - before


def way_of(pipe: Any, way: str, size: tuple[int, int], native: int | None, samples: int) -> Any:
    """A context in which the U-Net is evaluated as `way` has it."""
    if way == "plain":
        return nullcontext()
    preset = "published" if way == "published" else "default"
    plan = redilate.plan_for(pipe, height=size[0], width=size[1], preset=preset, native_size=native)
    if samples == 1:
        plan = plan.model_copy(update={"noise_damping": None})
    return redilate.apply(pipe, plan, layout=GuidanceLayout(samples, 0))


def main(
    model: Annotated[str, typer.Option(help="sd15, sd21 or sdxl.")] = "sd15",
    size: Annotated[str, typer.Option(metavar="WxH", help="In pixels.")] = "1024x1024",
    native: Annotated[
        int | None, typer.Option(help="Take this as the native side; without it, the model's own.")
    ] = None,
    samples: Annotated[int, typer.Option(help="2: a guided pair; 1: half of one.")] = 2,
    rounds: Annotated[int, typer.Option(help="How many times each way is evaluated.")] = 3,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    ways: Annotated[str, typer.Option(help="Separated by commas; plain comes first.")] = ",".join(WAYS),
) -> None:
    """Print each evaluation as it is done, then the ratios."""
    width, height = (int(side) for side in size.lower().split("x"))
    kind = TYPES[dtype]
    pipe = pipeline_of(model, device, kind)
    given = inputs(model, samples, (height, width), device, kind)
    estimate = samples * (unet_bytes(pipe.unet, height // 8, width // 8, torch.device(device)) or 0)
    evaluate(pipe.unet, inputs(model, samples, (64, 64), device, kind), device)  # what is set up once
    seconds: dict[str, list[float]] = {way: [] for way in ways.split(",")}
    for _ in range(rounds):
        for way, taken in seconds.items():
            with way_of(pipe, way, (height, width), native, samples):
                spent, grown = evaluate(pipe.unet, given, device)
            taken.append(spent)
            print(
                f"{model} {size} {dtype} × {samples}, {way}: {spent:.1f} s, grew {grown / 2**20:.0f} MiB, "
                f"estimated {estimate / 2**20:.0f}",
                flush=True,
            )
    for way, taken in seconds.items():
        ratios = [mine / plain for mine, plain in zip(taken, seconds["plain"], strict=True)]
        print(
            f"{way}: {statistics.median(ratios):.2f} × plain (in turn {', '.join(f'{r:.2f}' for r in ratios)})"
        )


if __name__ == "__main__":
    typer.run(main)
