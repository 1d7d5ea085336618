"""The bundled model's real pictures: its concepts' icons, drawn from their vectors at the sizes of an evaluation.

    python -m benchmarks.real --out outputs/real --sizes 512x512,1024x512

A true reference at any size, since a vector has no resolution. Needs the `train` extra, and npm for the icons.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from redilate.apps.command_line import parse_size
from redilate.evaluation.inputs import BUNDLED, read_prompts
from training.icons import concepts, fetch
from training.render import render

# As training/unet.py draws them for the model: other scales and places would be a distance of their own.
_SCALES, _SHIFT = (0.86, 0.92), 0.015


def main(
    out: Annotated[
        Path, typer.Option(help="The folder for evaluate's --real; one folder in it for each size.")
    ],
    sizes: Annotated[str, typer.Option(metavar="WxH,…", help="In pixels, separated by commas.")] = "512x512",
    prompts: Annotated[
        Path, typer.Option(help="The concepts to draw: those that the evaluation draws.")
    ] = BUNDLED,
    each: Annotated[
        int, typer.Option(min=1, help="Pictures of each concept, scaled and shifted a little.")
    ] = 4,
    icons: Annotated[Path, typer.Option(help="Where npm puts the icons, as training has it.")] = Path(
        "training/work"
    ),
) -> None:
    """Render every prompt's icon in the middle of a white ground, at each size."""
    fetch(icons)
    asked = set(read_prompts(prompts))
    drawn = [icon for icon in concepts(icons) if icon.words in asked]
    for width, height in map(parse_size, sizes.split(",")):
        folder = out / f"{width}x{height}"
        folder.mkdir(parents=True, exist_ok=True)
        side = min(width, height)
        draw = random.Random(0)
        for icon in drawn:
            for number in range(each):
                shift = (draw.uniform(-_SHIFT, _SHIFT), draw.uniform(-_SHIFT, _SHIFT))
                square = render(icon, side, scale=draw.uniform(*_SCALES), shift=shift)
                picture = Image.new("RGB", (width, height), "white")
                picture.paste(square, ((width - side) // 2, (height - side) // 2))
                picture.save(folder / f"{icon.name}-{number}.png")
        print(f"{folder}: {len(drawn) * each} pictures of {len(drawn)} concepts")


if __name__ == "__main__":
    typer.run(main)
