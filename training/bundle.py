"""The trained parts as one stock SDXL pipeline on disk, and a sheet of what it draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image, ImageDraw
from transformers import CLIPTokenizer

from redilate.evaluation.recognition import Gallery

from .icons import Icon
from .render import render
from .unet import NATIVE, TextToLatent, build_scheduler

HERE = Path(__file__).parent
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


def save(pipe: StableDiffusionXLPipeline, folder: Path, runs: list[str], facts: dict[str, str]) -> None:
    """Write the pipeline in half precision, with its model card filled in from `facts`; replaces `folder`."""
    half_written = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(half_written, ignore_errors=True)
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


def _rewrite(config: Path, **fields: str) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | fields, indent=2) + "\n")


@torch.no_grad()
def samples(pipe: StableDiffusionXLPipeline, icons: list[Icon], steps: int = 25) -> list[Image.Image]:
    """One native-size sample for each icon; sample k has seed k."""
    pipe.set_progress_bar_config(disable=True)
    return [
        pipe(
            icon.words,
            height=NATIVE,
            width=NATIVE,
            num_inference_steps=steps,
            guidance_scale=4.0,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        for seed, icon in enumerate(icons)
    ]


def recognised(images: list[Image.Image], icons: list[Icon], others: list[Icon]) -> int:
    """How many of the images are nearer to a render of their own icon than to any other's, of `icons` or `others`."""
    renders = [render(icon, NATIVE, scale=0.88) for icon in (*icons, *others)]
    gallery = Gallery(renders, (NATIVE, NATIVE))
    return sum(gallery.nearest(image) == place for place, image in enumerate(images))


def sheet(images: list[Image.Image], icons: list[Icon], columns: int = 8) -> Image.Image:
    """The samples in rows, each with its prompt below it."""
    line = 24
    out = Image.new("RGB", (columns * NATIVE, -(-len(icons) // columns) * (NATIVE + line)), "white")
    draw = ImageDraw.Draw(out)
    for index, (image, icon) in enumerate(zip(images, icons, strict=True)):
        left, top = index % columns * NATIVE, index // columns * (NATIVE + line)
        out.paste(image, (left, top))
        draw.text((left + 8, top + NATIVE), icon.words[:36], fill="black", font_size=15)
    return out
