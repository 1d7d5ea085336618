"""The autoencoder: 256×256 pixels to 32×32×4 latents (f = 8), learnt on crops of icons at many scales."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from .checkpoint import Checkpoint
from .icons import Icon
from .render import psnr, render, to_tensor, to_unit

CROP = 128
BATCH, RATE = 16, 1e-3
RENDER_SIZES = (256, 512, 1024)  # a crop of 128 is then a half, a quarter or an eighth of a picture
KL_WEIGHT = 1e-5
HALVED_SHARE = 0.2  # of the steps decode halved latents to the halved picture (EQ-VAE, arXiv 2502.09509)


def build() -> AutoencoderKL:
    """A small AutoencoderKL in the stock layout; `scaling_factor` is 1, see `whiten`."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=256,
        scaling_factor=1.0,
        force_upcast=False,
    )


class Crops:
    """Random crops from renders of `icons`, kept in memory as uint8 (about 0.2 MB each at 256², 3 MB at 1024²)."""

    def __init__(self, icons: list[Icon], seed: int):
        self._random = random.Random(seed)
        # Fewer of the large ones: they cost memory, and every one of them holds many crops.
        counts = {256: len(icons), 512: len(icons) // 2, 1024: len(icons) // 8}
        self._pictures = {size: self._some(icons, count, size) for size, count in counts.items()}

    def _some(self, icons: list[Icon], count: int, size: int) -> list[torch.Tensor]:
        scale = self._random.uniform
        picked = self._random.sample(icons, count)
        return [to_tensor(render(icon, size, scale=scale(0.7, 1.0))) for icon in picked]

    def batch(self, count: int, crop: int) -> torch.Tensor:
        """(count, 3, crop, crop) in [-1, 1]; half of the crops from the native size, a quarter from each larger one."""
        sizes = self._random.choices(RENDER_SIZES, weights=(2, 1, 1), k=count)
        return to_unit(
            torch.stack([self._crop(self._random.choice(self._pictures[size]), crop) for size in sizes])
        )

    def _crop(self, picture: torch.Tensor, crop: int) -> torch.Tensor:
        size = picture.shape[-1]
        for _ in range(4):  # an all-white crop teaches nothing; one in a while is let through
            top, left = (self._random.randint(0, size - crop) for _ in range(2))
            cut = picture[:, top : top + crop, left : left + crop]
            if cut.min() < 255:
                break
        return cut.flip(-1) if self._random.random() < 0.5 else cut


def train(icons: list[Icon], folder: Path, *, steps: int, device: str) -> AutoencoderKL:
    """Train for `steps`, going on from the checkpoint in `folder` if one is there; returns the whitened model."""
    vae = build().to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    checkpoint = Checkpoint(folder / "autoencoder.pt", model=vae, optimizer=optimizer)
    done = checkpoint.restore()
    crops = Crops(icons, seed=done)
    started = time.monotonic()
    for step in range(done, steps):
        falling = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 100) * falling + 1e-6
        # The last tenth on whole pictures, so that the global GroupNorm statistics are those of use.
        whole = step > 0.9 * steps
        pixels = crops.batch(BATCH // 4 if whole else BATCH, 256 if whole else CROP).to(device)
        loss, error = _loss(vae, pixels, halved=not whole and random.random() < HALVED_SHARE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            decibels = 10 * math.log10(4 / error)
            took = time.monotonic() - started
            print(f"autoencoder {step + 1}/{steps}  PSNR {decibels:.2f} dB  {took:.0f} s", flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            checkpoint.save(step + 1)
    return whiten(vae, crops)


def _loss(vae: AutoencoderKL, pixels: torch.Tensor, halved: bool) -> tuple[torch.Tensor, float]:
    with torch.autocast(pixels.device.type, torch.bfloat16):
        latent = vae.encode(pixels).latent_dist
        sample = latent.sample()
        if halved:
            sample, pixels = F.avg_pool2d(sample, 2), F.avg_pool2d(pixels, 2)
        decoded = vae.decode(sample).sample
    difference = decoded.float() - pixels
    squared = difference.square().mean()
    return difference.abs().mean() + 2 * squared + KL_WEIGHT * latent.kl().mean() / 256, squared.item()


@torch.no_grad()
def whiten(vae: AutoencoderKL, crops: Crops) -> AutoencoderKL:
    """Fold each latent channel's mean and deviation into the 1×1 convolutions on either side of the latents.

    Latents then have mean 0 and deviation 1 with `scaling_factor` 1, in every pipeline, with nothing to configure.
    """
    device = vae.device
    pixels = crops.batch(64, 256).to(device)
    latents = torch.cat([vae.encode(chunk).latent_dist.mean for chunk in pixels.split(8)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out = vae.quant_conv, vae.post_quant_conv
    channels = mean.numel()
    # z' = (z - mean) / deviation; the second half of the moments is the log-variance.
    into.weight[:channels] /= deviation.view(-1, 1, 1, 1)
    into.bias[:channels] = (into.bias[:channels] - mean) / deviation
    into.bias[channels:] -= 2 * deviation.log()
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= deviation.view(1, -1, 1, 1)
    return vae


@torch.no_grad()
def mean_psnr(vae: AutoencoderKL, icons: list[Icon], size: int) -> float:
    """Mean PSNR in dB over whole renders at `size`², encoded to the mode and decoded."""
    values = []
    for icon in icons:
        pixels = to_tensor(render(icon, size, scale=0.9))
        latents = vae.encode(to_unit(pixels)[None].to(vae.device, vae.dtype)).latent_dist.mode()
        values.append(psnr(vae.decode(latents).sample[0], pixels))
    return sum(values) / len(values)
