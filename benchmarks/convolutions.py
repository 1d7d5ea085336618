"""Dilated convolution against the plain one and against sub-grids, at the shapes of SDXL's levels.

    python -m benchmarks.convolutions                       # 2048² latents, a quarter of the side, on a CPU
    python -m benchmarks.convolutions --device cuda --divide 1
    python -m benchmarks.convolutions --halves              # dilations of n + ½, in each form

A convolution of dilation d is d² plain ones on the interleaved sub-grids of its input. Times are ratios to the plain
convolution of the same shape, type and layout; the sub-grids' include both rearrangements.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, get_args

import torch
import typer
from torch import Tensor
from torch.nn import functional

from redilate.core.conv import Fractional, redilated_conv2d

LEVELS = ((320, 256), (640, 128), (1280, 64))  # channels and side at 2048×2048 pixels
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def in_subgrids(features: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """`conv2d(features, weight, padding=dilation, dilation=dilation)` for sides that are multiples of `dilation`."""
    batch, channels, height, width = features.shape
    grid = features.unflatten(2, (height // dilation, dilation)).unflatten(4, (width // dilation, dilation))
    grid = grid.permute(0, 3, 5, 1, 2, 4).reshape(-1, channels, height // dilation, width // dilation)
    out = functional.conv2d(grid, weight, padding=1)
    out = out.reshape(batch, dilation, dilation, -1, height // dilation, width // dilation)
    return out.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, height, width)


def seconds(run: Callable[[], Tensor], device: str, repeats: int) -> float:
    """The best of `repeats`: what the work takes when nothing else is in the way."""
    times = []
    for _ in range(repeats + 1):  # the first warms up
        if device != "cpu":
            torch.cuda.synchronize()
        started = time.process_time() if device == "cpu" else time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append((time.process_time() if device == "cpu" else time.perf_counter()) - started)
    return min(times[1:])


@torch.inference_mode()
def main(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    divide: Annotated[int, typer.Option(help="Divide the side of the features by this.")] = 4,
    types: Annotated[str, typer.Option(help="Separated by commas.")] = "float32,bfloat16",
    repeats: Annotated[int, typer.Option(help="The best of so many is taken.")] = 3,
    halves: Annotated[bool, typer.Option("--halves", help="Dilations of 1.5 and 2.5 instead.")] = False,
) -> None:
    """Print one line for each shape, type, layout and dilation."""
    if halves:
        return between(device, divide, types, repeats)
    print("| channels | side | type | layout | d | plain ms | dilated / plain | sub-grids / plain |")
    print("|--:|--:|---|---|--:|--:|--:|--:|")
    for kind in types.split(","):
        for channels, whole in LEVELS:
            for layout, memory_format in LAYOUTS.items():
                weight = torch.randn(channels, channels, 3, 3, device=device, dtype=getattr(torch, kind))
                weight = weight.to(memory_format=memory_format)
                for d in (1, 2, 3, 4):
                    side = whole // divide // d * d
                    features = torch.randn(1, channels, side, side, device=device, dtype=weight.dtype)
                    features = features.to(memory_format=memory_format)
                    ways: list[Callable[[], Tensor]] = [
                        lambda x=features, w=weight: functional.conv2d(x, w, padding=1),
                        lambda x=features, w=weight, d=d: functional.conv2d(x, w, padding=d, dilation=d),
                        lambda x=features, w=weight, d=d: in_subgrids(x, w, d),
                    ]
                    error = (ways[2]().float() - ways[1]().float()).abs().max() / ways[
                        1
                    ]().float().abs().max()
                    assert error < 0.02, f"sub-grids differ by {error}"
                    plain, dilated, subgrids = (seconds(way, device, repeats) for way in ways)
                    print(
                        f"| {channels} | {side} | {kind} | {layout} | {d} | {plain * 1e3:.1f} | "
                        f"{dilated / plain:.2f} | {subgrids / plain:.2f} |",
                        flush=True,
                    )


def between(device: str, divide: int, types: str, repeats: int) -> None:
    """Each form of a dilation half-way between whole ones."""
    print("| channels | side | type | d | plain ms | taps / plain | channels / plain | published / plain |")
    print("|--:|--:|---|--:|--:|--:|--:|--:|")
    plain_settings = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    for kind in types.split(","):
        for channels, whole in LEVELS:
            side = whole // divide
            weight = torch.randn(channels, channels, 3, 3, device=device, dtype=getattr(torch, kind))
            features = torch.randn(1, channels, side, side, device=device, dtype=weight.dtype)
            plain = seconds(lambda x=features, w=weight: functional.conv2d(x, w, padding=1), device, repeats)
            for d in (1.5, 2.5):
                forms = [
                    seconds(
                        lambda x=features, w=weight, d=d, form=form: redilated_conv2d(
                            x, w, None, factor=(d, d), fractional=form, **plain_settings
                        ),
                        device,
                        repeats,
                    )
                    for form in get_args(Fractional)
                ]
                ratios = " | ".join(f"{form / plain:.2f}" for form in forms)
                print(f"| {channels} | {side} | {kind} | {d} | {plain * 1e3:.1f} | {ratios} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
