"""A face that was drawn badly at the native size, enlarged at several strengths: from which of them on it is mended.

python -m benchmarks.repair --out docs/images/repair.webp
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

import redilate

PROMPT, SEED, STEPS = "fox", 1, 25
# Of the native picture, in pixels: the left eye, and a place whose colour hides it.
EYE, SKIN = (86, 126, 124, 166), (128, 120)
SIDE = 512
_LABEL = 26


def main(
    out: Annotated[Path, typer.Option(help="The figure: .webp or .png.")],
    strengths: Annotated[str, typer.Option(help="Separated by commas.")] = "0.3,0.45,0.6,0.8",
) -> None:
    """Draw the figure."""
    pipe = redilate.load()
    native = redilate.generate(pipe, PROMPT, seed=SEED, steps=STEPS).images[0]
    without = native.copy()
    ImageDraw.Draw(without).ellipse(EYE, fill=native.getpixel(SKIN))
    shown = [("native, an eye hidden", without.resize((SIDE, SIDE), Image.Resampling.LANCZOS))]
    for strength in map(float, strengths.split(",")):
        made = redilate.enlarge(
            pipe, without, prompt=PROMPT, width=SIDE, height=SIDE, seed=SEED, steps=STEPS, strength=strength
        )
        shown.append((f"strength {strength:g}", made.images[0]))
    cell = SIDE // 2
    figure = Image.new("RGB", (len(shown) * cell, cell + _LABEL), (236, 236, 236))
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(size=15)
    for column, (title, picture) in enumerate(shown):
        draw.text((column * cell + 4, 3), title, fill=(30, 30, 30), font=font)
        figure.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (column * cell, _LABEL))
    figure.save(out, quality=85)
    print(out)


if __name__ == "__main__":
    typer.run(main)
