"""Pictures that clients send: never more bytes or pixels than allowed, of three formats, from memory alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageOps

from redilate.errors import RedilateError
from redilate.generation.photos import TooManyPixels, read_photo

from ..metadata import FORMATS
from .errors import ApiError, invalid


def read_picture(
    data: bytes, *, megapixels: float, name: str = "image", on_note: Callable[[str], None] = warnings.warn
) -> Image.Image:
    """A PNG, JPEG or WebP as `read_photo` reads it: sRGB, upright, on white where it is transparent.

    The size is taken from the header, so a small file of vast pixels is refused before one of them is unpacked.

    Args:
        data: the file.
        megapixels: the most that it may have.
        name: the field that it came in, for the error.
        on_note: called with a line about what of the picture is not used.

    Raises:
        ApiError: 400, or 413 for too many pixels.
    """
    try:
        return read_photo(data, max_pixels=int(megapixels * 1e6), formats=FORMATS, on_note=on_note)
    except TooManyPixels as error:
        raise ApiError(413, f"{name}: {error}", code="image_too_large", param=name) from error
    except RedilateError as error:
        raise ApiError(400, f"{name}: {error}", code="invalid_image_file", param=name) from error


def read_mask(data: bytes, image: Image.Image, *, megapixels: float) -> Image.Image:
    """The mask of an edit as `redilate.edit` takes it: white where the picture is drawn anew.

    As OpenAI has it, what is transparent is drawn anew; of a mask without transparency, what is white.

    Args:
        data: the file.
        image: the picture, as `read_picture` gave it.
        megapixels: as for `read_picture`.

    Raises:
        ApiError: 400, or 413 for too many pixels; its size is not the picture's, or nothing of it is to be drawn.
    """
    flat = read_picture(data, megapixels=megapixels, name="mask")
    with Image.open(BytesIO(data), formats=FORMATS) as opened:
        mask = flat.convert("L")
        if opened.has_transparency_data:
            mask = ImageOps.invert(opened.convert("RGBA").getchannel("A"))
    if mask.size != image.size:
        found, wanted = (f"{one.width}x{one.height}" for one in (mask, image))
        raise invalid("mask", f"it is {found}, and the picture {wanted}; both of one size work")
    if mask.getbbox() is None:
        raise invalid("mask", "nothing of it is transparent, or white, so nothing would be drawn anew")
    return mask


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at (width, height): scaled to cover it, and cut at the middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
