"""Some pictures of a study as one figure: a column for each prompt, a row for each method.

python -m benchmarks.showcase --study outputs/study --size 512x512 --pick 3,8,14 --out docs/images/first-screen.webp
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

_GAP = 6
_LABEL = 26
_TITLES = {
    "direct": "by itself",
    "strength1": "strength 1",
    "redilate": "Redilate",
    "upscale_lanczos": "Lanczos",
}


def main(
    study: Annotated[Path, typer.Option(help="The folder that the study wrote.")],
    size: Annotated[str, typer.Option(metavar="WxH", help="Which of its sizes.")],
    pick: Annotated[str, typer.Option(help="Seeds of the prompts to show, separated by commas.")],
    out: Annotated[Path, typer.Option(help="The figure: .webp or .png.")],
    methods: Annotated[str, typer.Option(help="Rows below the native one.")] = "direct,redilate",
    cell: Annotated[int, typer.Option(help="Height of a picture in the figure, in pixels.")] = 256,
    detail: Annotated[
        str, typer.Option(metavar="LEFT,TOP,SIDE", help="What is shown, as shares of a picture's sides.")
    ] = "0,0,1",
) -> None:
    """Draw the figure."""
    native = next(study.glob("native-*"))
    folders = [(f"native {native.name.split('-')[1]}", native)]
    folders += [(f"{size} {_TITLES.get(name, name)}", study / size / name) for name in methods.split(",")]
    seeds = [int(seed) for seed in pick.split(",")]
    width, height = (int(side) for side in size.split("x"))
    column = round(cell * width / height)
    from_left, from_top, share = (float(part) for part in detail.split(","))
    figure = Image.new(
        "RGB",
        (len(seeds) * (column + _GAP) - _GAP, len(folders) * (cell + _LABEL) + _LABEL),
        (236, 236, 236),
    )
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(size=15)
    for row, (title, folder) in enumerate(folders):
        top = _LABEL + row * (cell + _LABEL)
        draw.text((4, top + 3), title, fill=(30, 30, 30), font=font)
        for place, seed in enumerate(seeds):
            path = next(folder.glob(f"{seed:03}-*.png"))
            left = place * (column + _GAP)
            with Image.open(path) as image:
                box = (
                    from_left * image.width,
                    from_top * image.height,
                    (from_left + share) * image.width,
                    (from_top + share) * image.height,
                )
                shown = image.convert("RGB").resize((column, cell), Image.Resampling.LANCZOS, box)
            figure.paste(shown, (left, top + _LABEL))
            if row == 0:
                draw.text((left + 4, 3), path.stem[4:].replace("-", " "), fill=(30, 30, 30), font=font)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.save(out, quality=88)
    print(out)


if __name__ == "__main__":
    typer.run(main)
