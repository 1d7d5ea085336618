"""What a convolution's kernel takes inside itself on a CPU, against `core.workspace`.

    python -m benchmarks.workspace

One line for each shape: the growth of the process's peak resident memory during the convolution, and the figure that
the estimate of memory uses. Linux only: it sets the process's peak back through /proc before each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import typer

from benchmarks.evaluation import resident
from redilate.core.workspace import convolution_copies

# (channels in, out, kernel, stride, dilation, side), at which every tensor is so large that it is mapped by itself.
SHAPES = (
    (320, 320, 3, 1, 1, 256),
    (320, 320, 3, 1, 2, 256),
    (960, 320, 3, 1, 1, 192),
    (960, 320, 1, 1, 1, 192),
    (320, 320, 3, 2, 1, 256),
    (4, 320, 3, 1, 1, 256),
    (1280, 1280, 3, 1, 1, 128),
    (128, 128, 3, 1, 1, 1024),
    (128, 3, 3, 1, 1, 1024),
)


@torch.inference_mode()
def grown(conv: torch.nn.Conv2d, features: torch.Tensor) -> tuple[int, torch.Tensor]:
    """(bytes by which the process grew at its peak, the output)."""
    conv(features[..., :16, :16])  # what is set up once
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    out = conv(features)
    return resident("VmHWM") - before, out


def main() -> None:
    """Print the table."""
    print("| type | layout | convolution | estimated MiB | measured MiB |\n|---|---|---|--:|--:|")
    for dtype in (torch.float32, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            for shape in SHAPES:
                channels, made, kernel, stride, dilation, side = shape
                conv: Any = torch.nn.Conv2d(
                    channels, made, kernel, stride, dilation * (kernel // 2), dilation
                )
                conv = conv.to(dtype=dtype, memory_format=layout)
                features = torch.randn(2, channels, side, side).to(dtype).to(memory_format=layout)
                measured, out = grown(conv, features)
                estimated = convolution_copies(features, conv.weight, out, "cpu").peak(out.nbytes)
                name = f"{channels} → {made}, {kernel}×{kernel}, stride {stride}, d = {dilation}, {side}²"
                print(
                    f"| {str(dtype)[6:]} | {'channels last' if layout is torch.channels_last else 'NCHW'} | "
                    f"{name} | {estimated / 2**20:.0f} | {measured / 2**20:.0f} |",
                    flush=True,
                )
                del features, out


if __name__ == "__main__":
    typer.run(main)
