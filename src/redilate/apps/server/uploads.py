"""Pictures that clients send: never more bytes or pixels than allowed, of three formats, from memory alone."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO

from PIL import Image, ImageOps

from redilate.generation.photos import upright

from ..metadata import FORMATS
from .errors import ApiError


def read_picture(data: bytes, *, megapixels: float) -> Image.Image:
    """A PNG, JPEG or WebP as RGB, turned upright as its EXIF says, and on white where it is transparent.

    The size is taken from the header, so a small file of vast pixels is refused before one of them is unpacked.

    Args:
        data: the file.
        megapixels: the most that it may have.

    Raises:
        ApiError: 400, or 413 for too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bound of pixels is higher than ours
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > megapixels * 1e6:
                    raise _too_large(f"the picture is {width}x{height}", megapixels)
                return upright(image)
    except Image.DecompressionBombError as error:
        raise _too_large("the picture", megapixels) from error
    # Whatever a damaged file makes Pillow's decoders stumble over.
    except (
        OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, KeyError, IndexError, OverflowError,
        ZeroDivisionError,
    ) as error:  # fmt: skip
        raise ApiError(
            400, "image is not a PNG, JPEG or WebP that can be read", code="invalid_image_file", param="image"
        ) from error


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at (width, height): scaled to cover it, and cut at the middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _too_large(what: str, megapixels: float) -> ApiError:
    return ApiError(
        413, f"{what} has more than {megapixels:g} megapixels", code="image_too_large", param="image"
    )
