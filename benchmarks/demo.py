"""One prompt four ways: the large picture itself, and beside one another the native one, direct inference and ours.

python -m benchmarks.demo --out outputs
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

import redilate
from redilate.apps.command_line import silence_libraries
from redilate.apps.metadata import embedding, provenance

_LABEL, _GAP = 28, 8


def main(
    out: Annotated[Path, typer.Option(help="The folder for demo.png and side-by-side.png.")] = Path(
        "outputs"
    ),
    prompt: Annotated[str, typer.Option(help="What to draw.")] = "a fox",
    seed: Annotated[int, typer.Option(help="Of all pictures.")] = 7,
    side: Annotated[int, typer.Option(help="Of the large pictures, in pixels.")] = 512,
) -> None:
    """Draw them with the bundled model."""
    silence_libraries()
    pipe = redilate.load()
    pipe.set_progress_bar_config(disable=True)
    native = pipe.unet.config.sample_size * pipe.vae_scale_factor
    drawn = {
        f"native {native}x{native}": redilate.generate(pipe, prompt, seed=seed),
        f"direct {side}x{side}": redilate.generate(
            pipe, prompt, width=side, height=side, seed=seed, method="direct"
        ),
        f"Redilate {side}x{side}": redilate.generate(pipe, prompt, width=side, height=side, seed=seed),
    }
    out.mkdir(parents=True, exist_ok=True)
    made = drawn[f"Redilate {side}x{side}"]
    settings = made.settings | provenance(pipe, None)
    made.images[0].save(out / "demo.png", **embedding("PNG", settings))
    side_by_side({title: one.images[0] for title, one in drawn.items()}, side).save(out / "side-by-side.png")
    print(made.drawing)


def side_by_side(pictures: dict[str, Image.Image], height: int) -> Image.Image:
    """The pictures in a row, each `height` pixels high under its title."""
    shown = [
        image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)
        for image in pictures.values()
    ]
    width = sum(image.width for image in shown) + _GAP * (len(shown) - 1)
    figure = Image.new("RGB", (width, height + _LABEL), (236, 236, 236))
    draw, left = ImageDraw.Draw(figure), 0
    font = ImageFont.load_default(size=16)
    for title, image in zip(pictures, shown, strict=True):
        draw.text((left + 6, 4), title, fill=(30, 30, 30), font=font)
        figure.paste(image, (left, _LABEL))
        left += image.width + _GAP
    return figure


if __name__ == "__main__":
    typer.run(main)
