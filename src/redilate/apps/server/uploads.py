"""Pictures that clients send: never more bytes or pixels than allowed, of three formats, from memory alone."""

from __future__ import annotations

import logging

from PIL import Image, ImageOps

from redilate.errors import RedilateError
from redilate.generation.photos import TooManyPixels, read_photo

from ..metadata import FORMATS
from .errors import ApiError

log = logging.getLogger("redilate.server")


def read_picture(data: bytes, *, megapixels: float) -> Image.Image:
    """A PNG, JPEG or WebP as `read_photo` reads it: sRGB, upright, on white where it is transparent.

    The size is taken from the header, so a small file of vast pixels is refused before one of them is unpacked.

    Args:
        data: the file.
        megapixels: the most that it may have.

    Raises:
        ApiError: 400, or 413 for too many pixels.
    """
    try:
        return read_photo(data, max_pixels=int(megapixels * 1e6), formats=FORMATS, on_note=log.info)
    except TooManyPixels as error:
        raise ApiError(413, f"image: {error}", code="image_too_large", param="image") from error
    except RedilateError as error:
        raise ApiError(400, f"image: {error}", code="invalid_image_file", param="image") from error


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at (width, height): scaled to cover it, and cut at the middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
