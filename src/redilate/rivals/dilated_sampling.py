"""Dilated sampling (DemoFusion, section 3.4): blurred latents as interleaved ones of the native size, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pipelines.families import Size


def blur(latents: Tensor, factor: int, sigma: float) -> Tensor:
    """Gaussian blur with a kernel of 2 · factor − 1 taps a side, each picture's mean and deviation kept."""
    taps = torch.arange(1 - factor, factor, dtype=torch.float32, device=latents.device)
    line = torch.exp(-(taps**2) / (2 * sigma**2))
    line = line / line.sum()
    channels, reach = latents.shape[1], factor - 1
    padded = F.pad(latents.float(), (reach,) * 4, mode="replicate")
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    soft = F.conv2d(padded, kernel, groups=channels)
    axes, was = (1, 2, 3), latents.float()
    soft = (soft - soft.mean(axes, True)) / soft.std(axes, keepdim=True)
    return (soft * was.std(axes, keepdim=True) + was.mean(axes, True)).to(latents.dtype)


def interleaved(latents: Tensor, factor: int) -> list[Tensor]:
    """Every `factor`-th pixel from each of the factor² beginnings, row by row; beginnings outside are left out."""
    parts = [latents[..., row::factor, column::factor] for row in range(factor) for column in range(factor)]
    return [part for part in parts if part.numel()]


def put_together(parts: list[Tensor], factor: int, size: Size) -> Tensor:
    """The tensor of `size` (height, width) that `interleaved` took apart."""
    whole = parts[0].new_empty((*parts[0].shape[:2], *size))
    for part, place in zip(parts, interleaved(whole, factor), strict=True):
        place.copy_(part)
    return whole
