"""The trained parts as one stock SDXL pipeline on disk, and a sheet of what it draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image, ImageDraw
from transformers import CLIPTokenizer

from .icons import Icon
from .unet import TextToLatent, build_scheduler

HERE = Path(__file__).parent


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


def save(pipe: StableDiffusionXLPipeline, folder: Path, facts: dict[str, str]) -> None:
    """Write the pipeline in half precision, with its model card filled in from `facts`; replaces `folder`."""
    half_written = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(half_written, ignore_errors=True)
    pipe.to(torch.float16).save_pretrained(half_written, safe_serialization=True)
    # Written in half precision to be small; a CPU runs it in single, which is what a loader without `dtype=` gives.
    _rewrite(half_written / "text_encoder_2" / "config.json", dtype="float32")
    # diffusers notes the folder that a part was loaded from.
    _rewrite(half_written / "vae" / "config.json", _name_or_path="")
    (half_written / "README.md").write_text((HERE / "card.md").read_text().format(**facts))
    shutil.rmtree(folder, ignore_errors=True)
    half_written.rename(folder)


def _rewrite(config: Path, **fields: str) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | fields, indent=2) + "\n")


@torch.no_grad()
def sheet(
    pipe: StableDiffusionXLPipeline, icons: list[Icon], columns: int = 8, steps: int = 25
) -> Image.Image:
    """One native-size sample for each icon, its prompt written below it; sample k has seed k."""
    cell, line = 256, 24
    rows = -(-len(icons) // columns)
    out = Image.new("RGB", (columns * cell, rows * (cell + line)), "white")
    draw = ImageDraw.Draw(out)
    pipe.set_progress_bar_config(disable=True)
    for index, icon in enumerate(icons):
        generator = torch.Generator("cpu").manual_seed(index)
        image = pipe(
            icon.words,
            height=256,
            width=256,
            num_inference_steps=steps,
            guidance_scale=4.0,
            generator=generator,
        ).images[0]
        left, top = index % columns * cell, index // columns * (cell + line)
        out.paste(image, (left, top))
        draw.text((left + 8, top + cell), icon.words[:36], fill="black", font_size=15)
    return out
