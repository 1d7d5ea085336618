"""The U-Net, with its text encoder: v-prediction on precomputed latents of icons."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from redilate.atomic import replacing

from .checkpoint import Checkpoint
from .icons import Icon
from .muon import Muon
from .render import render, to_tensor, to_unit
from .text import WIDTH, build_encoder, caption, encode, tokenize

Computed = TypeVar("Computed")

NATIVE = 256
CENTRED = 0.88  # the scale of a render in the middle of the picture
# Renders per icon: centred, then each at its own scale and place; never mirrored, which would
# double what to learn.
VARIANTS = 3
DROPPED_CAPTIONS = 0.1
# Below this noise level a third of the samples are close-ups: windows of larger renders. A model that has seen
# photographs has seen things at every scale, and denoises a large picture's detail; one that has seen one size
# does not.
CLOSE_UPS_BELOW = 0.4
CLOSE_UP_SIZES = (384, 512, 768, 1024)
_FALLING = 0.35  # of the way: the learning rate falls
_SAVED_EVERY = 180.0  # seconds


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
    """SDXL's U-Net, small: three levels, attention at the lowest one, pooled text and sizes in the time embedding.

    Two thirds of a step's time are convolutions of 32×32 and 16×16 maps on a CPU, so those are narrow.
    """
    return UNet2DConditionModel(
        sample_size=NATIVE // 8,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
        attention_head_dim=(1, 2, 4),
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

    def encoded() -> torch.Tensor:
        draw = random.Random(0)
        rows = []
        for icon in icons:
            variants = [render(icon, NATIVE, scale=CENTRED)]
            for _ in range(VARIANTS - 1):
                shift = (draw.uniform(-0.015, 0.015), draw.uniform(-0.015, 0.015))
                variants.append(render(icon, NATIVE, scale=draw.uniform(0.86, 0.92), shift=shift))
            rows.append(_encoded(vae, variants))
        return torch.stack(rows)

    return _computed_once("latents", [VARIANTS], vae, icons, folder, encoded)


@torch.no_grad()
def close_ups_of(vae: AutoencoderKL, icons: list[Icon], folder: Path) -> list[torch.Tensor]:
    """For each of `CLOSE_UP_SIZES` the latents of every icon at that size, (icons, 4, size / 8, size / 8), float16,
    computed once as `latents_of`."""

    def encoded() -> list[torch.Tensor]:
        return [
            torch.cat([_encoded(vae, [render(icon, size, scale=CENTRED)]) for icon in icons])
            for size in CLOSE_UP_SIZES
        ]

    return _computed_once("close-ups", list(CLOSE_UP_SIZES), vae, icons, folder, encoded)


def _encoded(vae: AutoencoderKL, pictures: list[Image.Image]) -> torch.Tensor:
    pixels = torch.stack([to_unit(to_tensor(picture)) for picture in pictures]).to(vae.device)
    return vae.encode(pixels).latent_dist.mode().half().cpu()


def _computed_once(
    name: str,
    numbers: list[int],
    vae: AutoencoderKL,
    icons: list[Icon],
    folder: Path,
    compute: Callable[[], Computed],
) -> Computed:
    """What `compute` gives, kept in `folder` under all that decides it."""
    # By row, and so by what the rows are: a list of concepts that has changed must not be paired with older latents.
    named = [*map(str, numbers), *(f"{icon.set}/{icon.name}" for icon in icons)]
    made_of = " ".join(named).encode() + vae.quant_conv.weight.cpu().numpy().tobytes()
    path = folder / f"{name}-{hashlib.sha256(made_of).hexdigest()[:12]}.pt"
    if not path.exists():
        with replacing(path) as temporary:
            torch.save(compute(), temporary)
    return torch.load(path, weights_only=True)


def _close_up(close_ups: list[torch.Tensor], row: int, draw: random.Random) -> torch.Tensor:
    """A window of the native size, (4, 32, 32), of icon `row` at one of the larger sizes."""
    latents = draw.choice(close_ups)[row]
    side = NATIVE // 8
    top, left = (draw.randint(0, latents.shape[-1] - side) for _ in range(2))
    return latents[:, top : top + side, left : left + side].float()


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
    minutes: float = math.inf,
    start: Path | None = None,
    bfloat16: bool = False,
) -> TextToLatent:
    """Train for `steps` or `minutes`, whichever ends first; returns the averaged weights.

    It goes on from the checkpoint in `folder` if there is one. Without, the text encoder's weights are those of the
    finished model in the folder `start`, and so are the U-Net's where it has the same layout; else they are random.
    `bfloat16`: autocast, faster on GPUs and on processors with AMX, far slower on others.
    The learning rate holds, and falls to nothing over the last `_FALLING` of the way.
    """
    latents = latents_of(vae, icons, folder).to(device)
    close_ups = close_ups_of(vae, icons, folder)
    model = TextToLatent(tokenizer)
    if start is not None:
        _start_from(model, start)
    model.to(device)
    if device == "cpu":
        model.unet.to(memory_format=torch.channels_last)  # a step takes three quarters of the time
    average = EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True, power=0.8)
    matrices, rest = _by_optimizer(model)
    optimizers = {
        "muon": Muon(matrices, lr=rate),
        "adamw": torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.0),
    }
    clock = _Clock()
    checkpoint = Checkpoint(folder / "unet.pt", model=model, average=average, clock=clock, **optimizers)
    done = checkpoint.restore()
    average.to(device)
    sizes = torch.tensor([NATIVE, NATIVE, 0, 0, NATIVE, NATIVE], device=device).float().expand(batch, 6)
    noise_schedule = build_scheduler()
    draw = random.Random(done)
    generator = torch.Generator(device).manual_seed(done)
    running, saved = 0.0, clock.seconds()
    for step in range(done, steps):
        way = max(step / steps, clock.seconds() / (60 * minutes))
        if way >= 1:
            break
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 100, (1 - way) / _FALLING)
        rows = draw.choices(range(len(icons)), k=batch)
        clean = latents[rows, draw.choices(range(VARIANTS), k=batch)].float()
        tokens = tokenize(tokenizer, [caption(icons[row], draw) for row in rows]).to(device)
        kept = (torch.rand(batch, device=device, generator=generator) >= DROPPED_CAPTIONS).float()
        timesteps = _timesteps(batch, way if start is None else 1.0, device, generator)
        for index, timestep in enumerate(timesteps.tolist()):
            if timestep < 1000 * CLOSE_UPS_BELOW and draw.random() < 1 / 3:
                clean[index] = _close_up(close_ups, rows[index], draw)
        noise = torch.randn(clean.shape, device=device, generator=generator)
        noisy = noise_schedule.add_noise(clean, noise, timesteps)
        target = noise_schedule.get_velocity(clean, noise, timesteps)
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=bfloat16):
            predicted = model(noisy, timesteps, tokens, kept, sizes)
        loss = F.mse_loss(predicted.float(), target)
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        average.step(model.parameters())
        running += loss.item()
        if (step + 1) % 50 == 0:
            print(f"u-net {step + 1}/{steps}  loss {running / 50:.4f}  {clock.seconds():.0f} s", flush=True)
            running = 0.0
        if clock.seconds() - saved > _SAVED_EVERY:
            saved = clock.seconds()
            checkpoint.save(step + 1)
    checkpoint.save(step + 1 if done < steps else done)
    average.copy_to(model.parameters())
    model.unet.to(memory_format=torch.contiguous_format)
    return model


def steps_done(folder: Path) -> int:
    """How many steps the checkpoint in `folder` has behind it."""
    return int(torch.load(folder / "unet.pt", map_location="cpu", weights_only=True)["steps"])


class _Clock:
    """Seconds of training, over all of its runs."""

    def __init__(self) -> None:
        self._before, self._started = 0.0, time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._before, self._started = state["seconds"], time.monotonic()


def _timesteps(batch: int, way: float, device: str, generator: torch.Generator) -> torch.Tensor:
    """One timestep from each of `batch` equal strata: every noise level, with less variance.

    In the first third of the way towards the high ones, where what is drawn and where is decided. After it half of the
    samples lie evenly below 0.3, where the detail of a large picture is made, the other half evenly over all levels.
    """
    strata = torch.arange(batch, device=device) + torch.rand(batch, device=device, generator=generator)
    even = strata / batch
    levels = 1 - even**2 if way < 1 / 3 else torch.where(even < 0.5, 0.6 * even, 2 * even - 1)
    return (1000 * levels).long().clamp(max=999)


def _by_optimizer(model: TextToLatent) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Muon's parameters, the inner matrices and convolutions, and AdamW's, all others."""
    outer = ("embed", "conv_in", "conv_out")
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        inner = parameter.ndim >= 2 and not any(word in name for word in outer)
        (matrices if inner else rest).append(parameter)
    return matrices, rest


def _start_from(model: TextToLatent, folder: Path) -> None:
    model.text_encoder.load_state_dict(load_file(folder / "text_encoder_2" / "model.safetensors"))
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    own = model.unet.state_dict()
    if own.keys() == weights.keys() and all(own[name].shape == weights[name].shape for name in own):
        model.unet.load_state_dict(weights)
    else:
        print(f"the U-Net in {folder} has another layout; this one starts from nothing", flush=True)


def _leave_sizes_aside(unet: UNet2DConditionModel) -> None:
    """Keep the weights that read SDXL's size conditions at zero.

    The pictures have one size, so the sizes teach nothing; but SDXL's pipeline passes the size that is asked for,
    which at 1024 would be unknown ground to a network that was only ever told 256.
    """
    first: nn.Parameter = unet.add_embedding.linear_1.weight  # (time embedding, pooled text + 6 sizes)
    with torch.no_grad():
        first[:, WIDTH:] = 0
    first.register_hook(lambda gradient: torch.cat([gradient[:, :WIDTH], 0 * gradient[:, WIDTH:]], dim=1))
