"""The U-Net, with its text encoder: v-prediction on precomputed latents of icons."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from .autoencoder import to_unit
from .checkpoint import Checkpoint
from .icons import Icon
from .render import render, to_tensor
from .text import WIDTH, build_encoder, caption, encode, tokenize

NATIVE = 256
# Renders per icon, each at its own scale and place; never mirrored, which would double what to learn.
VARIANTS = 4
DROPPED_CAPTIONS = 0.1


def build_scheduler() -> DDIMScheduler:
    """SDXL's noise schedule, rescaled to zero terminal SNR (arXiv 2305.08891): the ground is white, not grey."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def build() -> UNet2DConditionModel:
    """SDXL's U-Net, small: three levels, attention at the lowest one, pooled text and sizes in the time embedding."""
    return UNet2DConditionModel(
        sample_size=NATIVE // 8,
        block_out_channels=(64, 128, 160),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4, 5),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=WIDTH + 6 * 32,
    )


class TextToLatent(nn.Module):
    """Text encoder and U-Net as one module, so that they share an optimizer, an average and a checkpoint."""

    def __init__(self, tokenizer: CLIPTokenizer):
        super().__init__()
        self.text_encoder: CLIPTextModelWithProjection = build_encoder(tokenizer)
        self.unet: UNet2DConditionModel = build()
        _leave_sizes_aside(self.unet)

    def forward(self, noisy, timesteps, tokens, kept, time_ids):
        """Predict v. noisy: (B, 4, 32, 32); tokens: (B, 32); kept: (B,) 0 where the caption is dropped."""
        states, pooled = encode(self.text_encoder, tokens)
        # A dropped caption is all zeros, which is what SDXL's pipeline passes for an empty negative prompt.
        condition = {"text_embeds": pooled * kept[:, None], "time_ids": time_ids}
        return self.unet(noisy, timesteps, states * kept[:, None, None], added_cond_kwargs=condition).sample


@torch.no_grad()
def latents_of(vae: AutoencoderKL, icons: list[Icon], folder: Path) -> torch.Tensor:
    """Latents of shape (icons, variants, 4, 32, 32) in float16, computed once for these icons and this autoencoder."""
    # By row, and so by what the rows are: a list of concepts that has changed must not be paired with older latents.
    made_of = " ".join(icon.name for icon in icons).encode() + vae.quant_conv.weight.cpu().numpy().tobytes()
    path = folder / f"latents-{hashlib.sha256(made_of).hexdigest()[:12]}.pt"
    if path.exists():
        return torch.load(path, weights_only=True)
    draw = random.Random(0)
    rows = []
    for icon in icons:
        pixels = torch.stack([to_unit(_variant(icon, draw)) for _ in range(VARIANTS)]).to(vae.device)
        rows.append(vae.encode(pixels).latent_dist.mode().half().cpu())
    latents = torch.stack(rows)
    torch.save(latents, path)
    return latents


def _variant(icon: Icon, draw: random.Random) -> torch.Tensor:
    shift = (draw.uniform(-0.02, 0.02), draw.uniform(-0.02, 0.02))
    return to_tensor(render(icon, NATIVE, scale=draw.uniform(0.84, 0.92), shift=shift))


def train(
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    icons: list[Icon],
    folder: Path,
    *,
    steps: int,
    batch: int,
    rate: float,
    device: str,
    start: Path | None = None,
) -> TextToLatent:
    """Train for `steps`, going on from the checkpoint in `folder` if there is one; returns the averaged weights.

    Without a checkpoint the weights are those of the finished model in the folder `start`, or random.
    """
    latents = latents_of(vae, icons, folder).to(device)
    model = TextToLatent(tokenizer)
    if start is not None:
        model.text_encoder.load_state_dict(load_file(start / "text_encoder_2" / "model.safetensors"))
        model.unet.load_state_dict(load_file(start / "unet" / "diffusion_pytorch_model.safetensors"))
    model.to(device)
    average = EMAModel(model.parameters(), decay=0.9995, use_ema_warmup=True, power=0.8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
    checkpoint = Checkpoint(folder / "unet.pt", model=model, optimizer=optimizer, average=average)
    done = checkpoint.restore()
    average.to(device)
    compiled = torch.compile(model)
    sizes = torch.tensor([NATIVE, NATIVE, 0, 0, NATIVE, NATIVE], device=device).float().expand(batch, 6)
    noise_schedule = build_scheduler()
    draw = random.Random(done)
    generator = torch.Generator(device).manual_seed(done)
    started, running = time.monotonic(), 0.0
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 200, max(0.02, (steps - step) / (0.8 * steps)))
        rows = draw.choices(range(len(icons)), k=batch)
        clean = latents[rows, draw.choices(range(VARIANTS), k=batch)].float()
        tokens = tokenize(tokenizer, [caption(icons[row], draw) for row in rows]).to(device)
        kept = (torch.rand(batch, device=device, generator=generator) >= DROPPED_CAPTIONS).float()
        # One timestep from each of `batch` equal strata: every noise level, with less variance. Squared towards the
        # high ones, where what is drawn and where is decided; flat icons need little learning below.
        strata = torch.arange(batch, device=device) + torch.rand(batch, device=device, generator=generator)
        timesteps = (1000 * (1 - (strata / batch) ** 2)).long().clamp(max=999)
        noise = torch.randn(clean.shape, device=device, generator=generator)
        noisy = noise_schedule.add_noise(clean, noise, timesteps)
        target = noise_schedule.get_velocity(clean, noise, timesteps)
        with torch.autocast(noisy.device.type, torch.bfloat16):
            predicted = compiled(noisy, timesteps, tokens, kept, sizes)
        loss = F.mse_loss(predicted.float(), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())
        running += loss.item()
        if (step + 1) % 50 == 0:
            print(
                f"u-net {step + 1}/{steps}  loss {running / 50:.4f}  {time.monotonic() - started:.0f} s",
                flush=True,
            )
            running = 0.0
        if (step + 1) % 250 == 0 or step + 1 == steps:
            checkpoint.save(step + 1)
    average.copy_to(model.parameters())
    return model


def _leave_sizes_aside(unet: UNet2DConditionModel) -> None:
    """Keep the weights that read SDXL's size conditions at zero.

    The pictures have one size, so the sizes teach nothing; but SDXL's pipeline passes the size that is asked for,
    which at 1024 would be unknown ground to a network that was only ever told 256.
    """
    first: nn.Parameter = unet.add_embedding.linear_1.weight  # (time embedding, pooled text + 6 sizes)
    with torch.no_grad():
        first[:, WIDTH:] = 0
    first.register_hook(lambda gradient: torch.cat([gradient[:, :WIDTH], 0 * gradient[:, WIDTH:]], dim=1))
