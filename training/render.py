"""Icons as pixels, at any size, on a white ground."""

from __future__ import annotations

import io
import math

import numpy as np
import resvg_py
import torch
from PIL import Image

from .icons import Icon


def render(
    icon: Icon, size: int, *, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> Image.Image:
    """Draw `icon` at `scale` of a white square of `size` pixels, its centre moved by `shift` of the side (x, y)."""
    side = max(1, round(size * scale))
    png = resvg_py.svg_to_bytes(svg_string=icon.svg, width=side, height=side, skip_system_fonts=True)
    drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    canvas = Image.new("RGBA", (size, size), "white")
    left, top = (round((size - side) / 2 + offset * size) for offset in shift)
    canvas.alpha_composite(drawn.crop((max(0, -left), max(0, -top), side, side)), (max(0, left), max(0, top)))
    return canvas.convert("RGB")


def to_tensor(image: Image.Image) -> torch.Tensor:
    """A picture as uint8 of shape (3, H, W)."""
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def psnr(unit: torch.Tensor, pixels: torch.Tensor) -> float:
    """PSNR in dB of a decoded picture in [-1, 1], rounded to 8 bits, against uint8 `pixels`, both (3, H, W)."""
    rounded = ((unit.float().cpu().clamp(-1, 1) + 1) * 127.5).round()
    return 10 * math.log10(255**2 / (rounded - pixels.float()).square().mean().item())


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pixels as float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1
