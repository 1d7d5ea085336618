"""What the layers of a full-size U-Net take at 4096²: counted for each, and measured for the largest on this CPU.

    python -m benchmarks.blocks --measure 4

The U-Net runs once on tensors without data and every layer's input shapes are noted. Each kind of layer is then
counted by itself; the first so many are built alone, with random weights, and run in earnest: the growth of the
process's peak against the count. Self-attention is left out of those: over 65,536 tokens it takes a core minutes, and
its memory is its projections'.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from benchmarks.evaluation import TYPES, evaluate, inputs
from redilate.core.footprint import peak_bytes
from redilate.pipelines.counting import unet_bytes
from tests.full_size import full_size_unet
from tests.models import tiny_sd15, tiny_sdxl

KINDS = ("ResnetBlock2D", "FeedForward", "Attention", "Upsample2D", "Downsample2D")
_SELF_ATTENTION = "Attention"


def layers_of(unet: nn.Module, given: dict[str, Any]) -> dict[str, tuple[nn.Module, tuple, dict]]:
    """Name → (layer, its arguments) for every distinct layer of `KINDS`, called once with `given` on meta tensors."""
    found: dict[str, tuple[nn.Module, tuple, dict]] = {}
    seen: set[str] = set()

    def note(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple, kwargs: dict) -> None:
            shapes = tree_map_only(Tensor, lambda tensor: tuple(tensor.shape), (args, kwargs))
            if (key := f"{layer} {shapes}") not in seen:
                seen.add(key)
                found[name] = (layer, args, kwargs)

        return hook

    hooks = [
        layer.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, layer in unet.named_modules()
        if type(layer).__name__ in KINDS
    ]
    with torch.no_grad():
        unet(**given)
    for hook in hooks:
        hook.remove()
    return found


def drawn(meta: Tensor) -> Tensor:
    """Random values in place of none."""
    return torch.randn(meta.shape, dtype=meta.dtype) * 0.02


def measured(layer: nn.Module, args: tuple, kwargs: dict) -> int:
    """Bytes by which the process grows while the layer runs, its output included."""
    real = layer.to_empty(device="cpu")
    for weight in real.parameters():
        weight.data.normal_(std=0.02)
    real_args, real_kwargs = tree_map_only(Tensor, drawn, (args, kwargs))

    class Called(nn.Module):
        def forward(self) -> None:
            real(*real_args, **real_kwargs)

    return evaluate(Called(), {}, "cpu")[1]


def main(
    model: Annotated[str, typer.Option(help="sd15, sd21 or sdxl.")] = "sdxl",
    side: Annotated[int, typer.Option(help="Of the picture, in pixels.")] = 4096,
    samples: Annotated[int, typer.Option(help="Evaluated together.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    show: Annotated[int, typer.Option(help="How many layers to list, the largest first.")] = 10,
    measure: Annotated[int, typer.Option(help="How many of them to run as well.")] = 0,
) -> None:
    """Print the whole U-Net's count, then the layers'."""
    kind = TYPES[dtype]
    unet: Any = nn.Module.to(full_size_unet(model), kind).eval()
    pipe = tiny_sdxl() if model == "sdxl" else tiny_sd15()
    pipe.unet = unet
    for device in ("cpu", "cuda"):
        for last in (False, True):
            unet.to(memory_format=torch.channels_last if last else torch.contiguous_format)
            count = unet_bytes(pipe, samples, side // 8, side // 8, torch.device(device))
            assert count is not None
            layout = "channels last" if last else "NCHW"
            print(f"{model} at {side}², {dtype} × {samples}, {device}, {layout}: {count / 2**20:.0f} MiB")
    unet.to(memory_format=torch.contiguous_format)
    given = inputs(model, samples, (side, side), "meta", kind)
    counts = {}
    layers = layers_of(unet, given)
    for name, (layer, args, kwargs) in layers.items():
        counts[name] = peak_bytes(lambda layer=layer, args=args, kwargs=kwargs: layer(*args, **kwargs))
    print("\n| layer | kind | input | counted MiB | measured MiB |\n|---|---|---|--:|--:|")
    left = measure
    for name, size in sorted(counts.items(), key=lambda item: -item[1])[:show]:
        layer, args, kwargs = layers[name]
        what = type(layer).__name__
        found = "–"
        if left and what != _SELF_ATTENTION:
            left -= 1
            found = f"{measured(layer, args, kwargs) / 2**20:.0f}"
        shape = "×".join(map(str, args[0].shape))
        print(f"| {name} | {what} | {shape} | {size / 2**20:.0f} | {found} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
