"""Uploaded pictures: bounded in bytes and pixels, of three formats."""

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
    """A PNG, JPEG or WebP as `read_photo` reads it.

    Args:
        data: the file.
        megapixels: the largest size, checked by the header.
        name: of its field, for the error.
        on_note: as for `read_photo`.

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
    """An edit's mask as `redilate.edit` takes it: white where the picture is drawn anew.

    As for OpenAI, transparent parts are drawn anew; of a mask without transparency, white parts.

    Raises:
        ApiError: 400, or 413 for too many pixels; also for a mask of another size, or one that draws nothing anew.
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
    """The picture scaled to cover (width, height), and cropped around its middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
