"""The trained parts as one stock SDXL pipeline on disk, and a sheet of what it draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image, ImageDraw
from transformers import CLIPTokenizer

from redilate.evaluation.features import Gallery

from .icons import Icon
from .render import psnr, render, to_tensor, to_unit
from .unet import CENTRED, NATIVE, TextToLatent, build_scheduler

HERE = Path(__file__).parent
GUIDANCE = 3.0
WORDS = "concepts.json"
RUNS = "training.json"  # kept with the weights, so that a model trained further still knows all of its runs


def assemble(vae: AutoencoderKL, tokenizer: CLIPTokenizer, model: TextToLatent) -> StableDiffusionXLPipeline:
    """A stock pipeline with one text encoder, the second, as SDXL's refiner has it."""
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=model.text_encoder,
        tokenizer_2=tokenizer,
        unet=model.unet,
        scheduler=build_scheduler(),
        add_watermarker=False,
    )


def runs_before(start: Path | None) -> list[str]:
    """How the model in `start` was trained, a line for each run; none where there is no such model."""
    return [] if start is None else json.loads((start / RUNS).read_text())


def save(
    pipe: StableDiffusionXLPipeline,
    folder: Path,
    runs: list[str],
    facts: dict[str, str],
    concepts: list[Icon],
) -> None:
    """Write the pipeline in half precision, with its model card filled in from `facts`; replaces `folder`."""
    half_written = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(half_written, ignore_errors=True)
    write_words(half_written, concepts)
    pipe.to(torch.float16).save_pretrained(half_written, safe_serialization=True)
    # Written in half precision to be small; a CPU runs it in single, which is what a loader without `dtype=` gives.
    _rewrite(half_written / "text_encoder_2" / "config.json", dtype="float32")
    # diffusers notes the folder that a part was loaded from.
    _rewrite(half_written / "vae" / "config.json", _name_or_path="")
    (half_written / RUNS).write_text(json.dumps(runs, indent=2) + "\n")
    listed = "\n".join(f"{number}. {run}" for number, run in enumerate(runs, 1))
    (half_written / "README.md").write_text((HERE / "card.md").read_text().format(runs=listed, **facts))
    shutil.rmtree(folder, ignore_errors=True)
    half_written.rename(folder)


def write_words(folder: Path, concepts: list[Icon]) -> None:
    """What the model draws, each thing with its other names: `redilate show --model` and the command's advice."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {icon.words: list(icon.aliases) for icon in concepts}
    (folder / WORDS).write_text(json.dumps(known, indent=1) + "\n")


def _rewrite(config: Path, **fields: str) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | fields, indent=2) + "\n")


@torch.no_grad()
def samples(pipe: StableDiffusionXLPipeline, icons: list[Icon], steps: int = 25) -> list[Image.Image]:
    """One native-size sample for each icon of the list; sample k has seed k."""
    pipe.set_progress_bar_config(disable=True)
    return [
        pipe(
            icon.words,
            height=NATIVE,
            width=NATIVE,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        for seed, icon in enumerate(icons)
    ]


def recognised(images: list[Image.Image], shown: list[Icon], icons: list[Icon]) -> int:
    """How many of the images are nearer to a render of their own icon, of `shown`, than to any other's of `icons`."""
    gallery = Gallery([render(icon, NATIVE, scale=CENTRED) for icon in icons], (NATIVE, NATIVE))
    names = [icon.name for icon in icons]
    return sum(names[gallery.nearest(image)] == icon.name for image, icon in zip(images, shown, strict=True))


@torch.no_grad()
def low_noise(pipe: StableDiffusionXLPipeline, icons: list[Icon], level: float = 0.25) -> tuple[float, float]:
    """How near true renders come back: mean PSNR in dB of the autoencoder's round trip, and of renders that are given
    noise up to `level` and denoised from there, at the native size, with their own prompts.
    """
    other = StableDiffusionXLImg2ImgPipeline(**pipe.components)
    other.set_progress_bar_config(disable=True)
    plain, denoised = [], []
    for seed, icon in enumerate(icons):
        picture = render(icon, NATIVE, scale=CENTRED)
        pixels = to_tensor(picture)
        latents = pipe.vae.encode(to_unit(pixels)[None]).latent_dist.mode()
        plain.append(psnr(pipe.vae.decode(latents).sample[0], pixels))
        found = other(
            icon.words,
            image=latents,
            strength=level,
            num_inference_steps=24,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="pt",
        ).images[0]
        denoised.append(psnr(found * 2 - 1, pixels))
    return sum(plain) / len(plain), sum(denoised) / len(denoised)


def sheet(images: list[Image.Image], icons: list[Icon], columns: int = 8, side: int = 128) -> Image.Image:
    """The samples in rows, `side` pixels each, with the prompt below."""
    line = 20
    out = Image.new("RGB", (columns * side, -(-len(icons) // columns) * (side + line)), "white")
    draw = ImageDraw.Draw(out)
    for index, (image, icon) in enumerate(zip(images, icons, strict=True)):
        left, top = index % columns * side, index // columns * (side + line)
        out.paste(image.resize((side, side), Image.Resampling.LANCZOS), (left, top))
        draw.text((left + 4, top + side), icon.words[:22], fill="black", font_size=11)
    return out
