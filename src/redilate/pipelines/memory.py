"""An estimate of the memory that a size needs, for users; no code decides by it.

The U-Net's peak is a transformer's feed-forward or a residual block, with the skip connections waiting; the decode's is
its largest convolution. `ERROR` is how far off the estimate was on a CPU (docs/performance.md); on a GPU it was not
measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..decoding.decode import bytes_needed, whole_decode_bytes
from ..errors import RedilateError
from .families import latent_scale, unet_of, unwrap
from .out_of_memory import execution_device

ERROR = "measured on a CPU: 0.85 to 1.55 times as much"
# For freed blocks that malloc keeps, and oneDNN's copies.
_ON_CPU = 1.3


@dataclass(frozen=True)
class Memory:
    """About how many bytes one picture needs.

    Attributes:
        device: the device type of the estimate.
        weights: of all networks of the pipeline.
        unet: activations of one U-Net call on the guided batch; None for an unknown layout.
        unet_sequential: the same with sequential guidance.
        decode: activations of the autoencoder's own decode; None if it is not an AutoencoderKL.
        decode_strips: the same in strips.
    """

    device: str
    weights: int
    unet: int | None
    unet_sequential: int | None
    decode: int | None
    decode_strips: int | None

    def __str__(self) -> str:
        parts = [f"weights {gigabytes(self.weights)}"]
        if self.unet is not None and self.unet_sequential is not None:
            less = f" (sequential guidance {gigabytes(self.unet_sequential)})"
            parts.append(f"U-Net {gigabytes(self.unet)}{less if self.unet_sequential < self.unet else ''}")
        if self.decode is not None and self.decode_strips is not None:
            parts.append(f"decode {gigabytes(self.decode)} (in strips {gigabytes(self.decode_strips)})")
        return f"memory on {self.device}, about ({ERROR}): " + ", ".join(parts)


def gigabytes(size: int) -> str:
    """Bytes in MiB or GiB."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**20 * 100 else f"{size / 2**20:.1f} MiB"


def memory_for(
    pipe: Any, width: int, height: int, *, guided: bool = True, device: torch.device | str | None = None
) -> Memory:
    """An estimate for a picture of width × height pixels.

    Args:
        pipe: a diffusers pipeline.
        width, height: in pixels.
        guided: whether guidance doubles the batch.
        device: None: the pipeline's.
    """
    home = execution_device(pipe) if device is None else torch.device(device)
    scale = latent_scale(pipe)
    rows, columns = height // scale, width // scale
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    weights = sum(weight.numel() * weight.element_size() for part in parts for weight in part.parameters())
    one = unet_bytes(unwrap(unet_of(pipe)), rows, columns, home)
    return Memory(
        home.type,
        weights,
        None if one is None else one * (2 if guided else 1),
        one,
        *_autoencoder_bytes(getattr(pipe, "vae", None), rows, columns, home),
    )


def unet_bytes(unet: Any, rows: int, columns: int, device: torch.device) -> int | None:
    """About how many bytes of activations one sample of rows × columns latents takes; None for an unknown layout.

    A plan's fractional dilations add some hundredths to it, ND-CFG nothing.
    """
    if type(unet).__name__ != "UNet2DConditionModel":
        return None
    cells = rows * columns
    waiting, widest = unet.conv_in.out_channels * cells, 0
    for block in unet.down_blocks:
        widest = max(widest, cells * max(_widths(block)))
        waiting += cells * sum(resnet.conv2.out_channels for resnet in _parts(block, "resnets"))
        for down in _parts(block, "downsamplers"):
            cells //= 4
            waiting += cells * _out_channels(down)
    widest = max(widest, cells * max(_widths(unet.mid_block), default=0))
    for block in unet.up_blocks:
        widest = max(widest, cells * max(_widths(block)))
        for up in _parts(block, "upsamplers"):
            cells *= 4
            widest = max(widest, 2 * cells * _out_channels(up))  # doubled pixels, and what is made of them
    kind = unet.dtype  # of the computation: diffusers heeds its casting hooks
    size = kind.itemsize if kind.is_floating_point and kind.itemsize > 1 else 2
    return round(size * (waiting + widest) * (_ON_CPU if device.type == "cpu" else 1))


def _widths(block: Any) -> Iterator[int]:
    """Channels in memory at once in each layer of a block."""
    for resnet in _parts(block, "resnets"):
        # The input, the normalised input, the first convolution's output.
        yield 2 * resnet.conv1.in_channels + resnet.conv1.out_channels
    for transformer in _parts(block, "attentions"):
        for layer in getattr(transformer, "transformer_blocks", ()):
            channels, inner = layer.ff.net[2].out_features, layer.ff.net[2].in_features
            # A gated layer has both halves, the gate's activation and the product, beside three of its input's size.
            yield 4 * inner + 3 * channels


def _parts(block: Any, name: str) -> Iterable[Any]:
    return getattr(block, name, None) or ()


def _out_channels(sampler: Any) -> int:
    found = getattr(sampler, "out_channels", None)
    return int(found if found is not None else sampler.conv.out_channels)


def _autoencoder_bytes(
    vae: Any, rows: int, columns: int, device: torch.device
) -> tuple[int | None, int | None]:
    if type(vae).__name__ != "AutoencoderKL":
        return None, None
    try:
        return whole_decode_bytes(vae, rows, columns), bytes_needed(vae, rows, columns, device)
    except RedilateError:  # an autoencoder with other layers
        return None, None
