"""A picture that the user has: read, bounded, turned upright and into RGB."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import RedilateError

# 8192 × 8192. Of what comes in and of what goes out: more is a slip of the hand or a decompression bomb.
MAX_PIXELS = 2**26


def read_photo(source: Image.Image | str | Path) -> Image.Image:
    """The picture in RGB and upright; of an animation the first frame.

    EXIF's rotation is honoured, what is transparent becomes white, greyscale, palettes, CMYK and 16 bits a channel
    are converted.

    Raises:
        RedilateError: if it cannot be read, or has more than MAX_PIXELS.
    """
    if not isinstance(source, str | Path):
        return _bounded(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is lower
            with Image.open(source) as image:
                return _bounded(image)
    except Image.DecompressionBombError as error:
        raise RedilateError(f"{source} has too many pixels; {MAX_PIXELS} are the most") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, RedilateError):
            raise
        # An OSError's own text holds the path again, or an errno.
        reason = getattr(error, "strerror", None) or "it is not a picture that Pillow can read"
        raise RedilateError(f"cannot read {source}: {reason}") from error


def _bounded(image: Image.Image) -> Image.Image:
    # Asked before anything is decoded: the size stands in the file's head.
    check_pixels(*image.size, "the picture")
    return upright(image)


def upright(image: Image.Image) -> Image.Image:
    """The picture in RGB, turned as its EXIF says, on white where it is transparent, of 16 bits the upper ones."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits at 255.
        grey = (np.asarray(image).astype(np.float64) / 257).round().clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), above).convert("RGB")
    return image.convert("RGB")


def check_pixels(width: int, height: int, what: str) -> None:
    """RedilateError if width × height is more than MAX_PIXELS; `what` is called so in the message."""
    if width * height > MAX_PIXELS:
        side = round(MAX_PIXELS**0.5)
        raise RedilateError(
            f"{what} of {width}x{height} has {width * height} pixels; {MAX_PIXELS} ({side}x{side}) are the most"
        )


def padded(image: Image.Image, width: float, height: float) -> Image.Image:
    """The top left `width` × `height` pixels, which may reach beyond the picture: its edge is continued there.

    Sides that are not whole are resampled to the next whole number (Lanczos), less than one pixel's change.
    """
    if (width, height) == image.size:
        return image
    right, bottom = (
        max(0, int(-(-side // 1)) - have) for side, have in zip((width, height), image.size, strict=True)
    )
    continued = np.pad(np.asarray(image), ((0, bottom), (0, right), (0, 0)), mode="edge")
    canvas = Image.fromarray(continued)
    if (width, height) == canvas.size:
        return canvas
    return canvas.resize(canvas.size, Image.Resampling.LANCZOS, box=(0, 0, width, height))
