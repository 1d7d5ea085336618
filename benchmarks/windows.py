"""What windowed self-attention saves in full-size SDXL: the work of an evaluation, and the time of its blocks.

    python -m benchmarks.windows --sides 1024,2048,4096 --time 2048

The work is counted with torch's FlopCounterMode on tensors without data, for the plan that `plan_for(windows=1)` gives.
A transformer block of each level is then built alone, with random weights, at its true size: seconds of CPU time (a
GPU: wall time) with the map whole and in windows, in turn, and the median of the rounds' ratios.
"""

from __future__ import annotations

import copy
import statistics
from contextlib import nullcontext
from typing import Annotated, Any

import torch
import typer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import redilate
from benchmarks.evaluation import TYPES, evaluate, inputs
from redilate.core.windows import exchange_attention, lay_out, set_layout
from redilate.plans.plan import count_resolution_levels, resolution_level
from tests.full_size import full_size_unet
from tests.models import tiny_sdxl

_CONTEXT = 77  # text tokens


def pipeline() -> Any:
    """The tests' tiny pipeline around a full-size U-Net without weights."""
    pipe = tiny_sdxl()
    pipe.unet = copy.deepcopy(full_size_unet("sdxl")).eval()
    return pipe


@torch.no_grad()
def work(pipe: Any, side: int, windows: bool) -> tuple[float, float]:
    """TFLOP of one sample's evaluation at side × side pixels: (all, attention's two products)."""
    given = inputs("sdxl", 1, (side, side), "meta", torch.float32)
    plan = redilate.plan_for(pipe, width=side, height=side, windows=1.0)
    counter = FlopCounterMode(display=False)
    with redilate.apply(pipe, plan) if windows else nullcontext(), counter:
        pipe.unet(**given)
    kinds = counter.get_flop_counts()["Global"]
    products = sum(count for kind, count in kinds.items() if "bmm" in str(kind) or "attention" in str(kind))
    return counter.get_total_flops() / 1e12, products / 1e12


def built(unet: nn.Module, name: str, dtype: torch.dtype, device: str) -> nn.Module:
    """One block of the U-Net alone, with random weights."""
    block = nn.Module.to(copy.deepcopy(unet.get_submodule(name)), dtype).to_empty(device=device)
    for weight in block.parameters():
        weight.data.normal_(std=0.02)
    return block.eval()


def main(
    sides: Annotated[str, typer.Option(help="Of the pictures whose work is counted.")] = "1024,2048,4096",
    time: Annotated[str, typer.Option(help="Of the pictures whose blocks are timed.")] = "2048",
    rounds: Annotated[int, typer.Option(help="How many times each way is run.")] = 3,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Print two tables: work, and time."""
    pipe = pipeline()
    print("| side | TFLOP, whole maps | of it attention | in windows | of it attention | ratio |")
    print("|--:|--:|--:|--:|--:|--:|")
    for side in map(int, filter(None, sides.split(","))):
        whole, cut = work(pipe, side, windows=False), work(pipe, side, windows=True)
        counts = " | ".join(f"{count:.1f}" for count in (*whole, *cut))
        print(f"| {side} | {counts} | {cut[0] / whole[0]:.2f} |", flush=True)
    print("\n| side | channels | tokens | window | what | whole, s | in windows, s | ratio |")
    print("|--:|--:|--:|--:|---|--:|--:|--:|")
    kind = TYPES[dtype]
    for side in map(int, filter(None, time.split(","))):
        plan = redilate.plan_for(pipe, width=side, height=side, windows=1.0)
        levels = count_resolution_levels([name for name, _ in pipe.unet.named_modules()])
        for level in (1, 2):
            name = f"down_blocks.{level}.attentions.0.transformer_blocks.0"
            assert resolution_level(name, levels) == level
            window = plan.window_sizes(0.0)[f"{name}.attn1"]
            length = side // 8 // 2**level
            block: Any = built(pipe.unet, name, kind, device)
            exchange_attention(block.attn1)
            channels = block.attn1.to_q.in_features
            tokens = torch.randn(1, length**2, channels, dtype=kind, device=device)
            text = torch.randn(1, _CONTEXT, block.attn2.to_k.in_features, dtype=kind, device=device)
            layouts = (None, lay_out((length, length), window, (0.5, 0.25), device))
            calls = {
                "self-attention": (block.attn1, {"hidden_states": tokens}),
                "block": (block, {"hidden_states": tokens, "encoder_hidden_states": text}),
            }
            for what, (module, given) in calls.items():
                taken: list[list[float]] = []
                for _ in range(rounds):
                    taken.append([])
                    for layout in layouts:
                        set_layout(block.attn1, layout)
                        taken[-1].append(evaluate(module, given, device)[0])
                whole, cut = (statistics.median(way) for way in zip(*taken, strict=True))
                ratio = statistics.median(windowed / seen for seen, windowed in taken)
                print(
                    f"| {side} | {channels} | {length}² | {window[0]}² | {what} "
                    f"| {whole:.2f} | {cut:.2f} | {ratio:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    typer.run(main)
