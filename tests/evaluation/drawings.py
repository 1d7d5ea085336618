"""Pictures whose objects are known, drawn at any size."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw

# Centres and radii as shares of the side, far enough apart at every count.
_PLACES = {
    1: [(0.5, 0.5, 0.35)],
    2: [(0.27, 0.4, 0.2), (0.73, 0.6, 0.2)],
    3: [(0.25, 0.25, 0.18), (0.75, 0.3, 0.15), (0.5, 0.75, 0.2)],
    5: [(0.2, 0.2, 0.15), (0.8, 0.2, 0.12), (0.5, 0.5, 0.13), (0.2, 0.8, 0.1), (0.8, 0.8, 0.16)],
    16: [((x + 0.5) / 4, (y + 0.5) / 4, 0.09) for y in range(4) for x in range(4)],
}


def canvas(size: int, ground: str = "white") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty square picture and its pen."""
    image = Image.new("RGB", (size, size), ground)
    return image, ImageDraw.Draw(image)


def discs(size: int, count: int, colour: str = "crimson", ground: str = "white") -> Image.Image:
    """`count` (1, 2, 3, 5 or 16) separate discs of several sizes, each with a dark rim."""
    image, draw = canvas(size, ground)
    for x, y, radius in _PLACES[count]:
        draw.circle(
            (x * size, y * size), radius * size, fill=colour, outline="black", width=max(1, size // 100)
        )
    return image


def face(size: int, eyes: int = 2) -> Image.Image:
    """A yellow face with a mouth and a row of `eyes`: one object, whatever repeats inside it.

    Drawn four times as large and shrunk, so that all sizes have smooth edges and differ in nothing else.
    """
    side = 4 * size
    image, draw = canvas(side)
    draw.circle((0.5 * side, 0.5 * side), 0.4 * side, fill="gold", outline="darkorange", width=side // 50)
    for eye in range(eyes):
        x, y = 0.5 + 0.5 * ((eye % 4 + 0.5) / min(eyes, 4) - 0.5), 0.4 + 0.1 * (eye // 4)
        draw.ellipse(
            [(x - 0.03) * side, (y - 0.05) * side, (x + 0.03) * side, (y + 0.05) * side], fill="sienna"
        )
    draw.arc([0.35 * side, 0.5 * side, 0.65 * side, 0.75 * side], 20, 160, fill="sienna", width=side // 40)
    return image.resize((size, size), Image.Resampling.BOX)


def cookie(size: int, dots: int = 4) -> Image.Image:
    """A brown cookie of `dots` × `dots` chocolate dots in a regular square."""
    side = 4 * size
    image, draw = canvas(side)
    draw.circle((0.5 * side, 0.5 * side), 0.42 * side, fill="peru", outline="saddlebrown", width=side // 40)
    for index in range(dots * dots):
        x, y = (0.5 + 0.56 * ((place + 0.5) / dots - 0.5) for place in (index % dots, index // dots))
        draw.circle((x * side, y * side), 0.16 / dots * side, fill="black")
    return image.resize((size, size), Image.Resampling.BOX)


def glued(image: Image.Image, times: int) -> Image.Image:
    """`tiled`, with the white margins of `image` cut off first: the copies touch and are one object."""
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    result = Image.new("RGB", image.size, "white")
    inner = tiled(image.crop(box).resize((7 * image.width // 8 // times * times,) * 2), times)
    result.paste(inner, ((image.width - inner.width) // 2, (image.height - inner.height) // 2))
    return result


def noisy(image: Image.Image, deviation: float) -> Image.Image:
    """`image` with Gaussian noise of `deviation` (of 255) on every channel."""
    noise = np.random.default_rng(0).normal(0, deviation, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def tiled(image: Image.Image, times: int) -> Image.Image:
    """`times` × `times` small copies in a picture of the same size: what direct inference far too large does."""
    small = image.resize((image.width // times, image.height // times), Image.Resampling.LANCZOS)
    result = Image.new("RGB", image.size, "white")
    for y in range(times):
        for x in range(times):
            result.paste(small, (x * small.width, y * small.height))
    return result
