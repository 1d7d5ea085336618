"""Reading a user's picture: bounded in size, upright, in sRGB with 8 bits a channel."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ..errors import RedilateError
from .bit_depth import to_eight_bits
from .srgb import read_code_points, to_srgb

# 8192 × 8192, of input and output: more is a mistake or a decompression bomb.
MAX_PIXELS = 2**26

# Pillow's exceptions for damaged files.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError, KeyError, IndexError, OverflowError,
    ZeroDivisionError,
)  # fmt: skip
# Brands of ISO base media files (bytes 8 to 12) with HEIC; Pillow reads AVIF, another brand, by itself.
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# EXIF's orientation → what makes the picture upright (EXIF 2.32, tag 274).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Note = Callable[[str], None]


class TooManyPixels(RedilateError):
    """The picture has too many pixels; nothing of it has been decoded."""


def read_photo(
    source: Image.Image | str | Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
    on_note: Note = warnings.warn,
) -> Image.Image:
    """The picture upright in RGB (sRGB, 8 bits a channel); of an animation or several pages the first.

    EXIF's rotation and colour profiles are applied, transparent parts become white, and greyscale, palettes, CMYK and
    16 bits a channel are converted.

    Args:
        source: a picture, a file's path, or a file's bytes.
        max_pixels: the largest number of pixels, checked before anything is decoded.
        formats: Pillow's names of the formats that are read; None: all that Pillow reads.
        on_note: called with a line about what of the picture is not used.

    Raises:
        TooManyPixels: it has more than `max_pixels`.
        RedilateError: it cannot be read (no picture, cut short, HEIC), or its values have no known white.
    """
    name = str(source) if isinstance(source, str | Path) else "the picture"
    try:
        if isinstance(source, Image.Image):  # its pixels may not be read yet
            check_pixels(*source.size, name, max_pixels)
            return _upright(source, on_note)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our bound is asked in its place
            file = BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=formats) as image:
                check_pixels(*image.size, "the picture", max_pixels)
                return _upright(image, on_note)
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"{name} has too many pixels; {max_pixels} are the most") from error
    except RedilateError as error:
        if isinstance(error, TooManyPixels):
            raise
        raise RedilateError(f"cannot read {name}: {error}") from error
    except _DAMAGED as error:
        raise RedilateError(f"cannot read {name}: {_reason(source, error, formats)}") from error


def check_pixels(width: int, height: int, what: str, most: int = MAX_PIXELS) -> None:
    """TooManyPixels if width × height is more than `most`; the message names `what`."""
    if width * height > most:
        side = int(most**0.5)
        raise TooManyPixels(
            f"{what} of {width}x{height} has {width * height} pixels; {most} ({side}x{side}) are the most"
        )


def padded(image: Image.Image, width: float, height: float) -> Image.Image:
    """The top left `width` × `height` pixels; beyond the picture its edge is continued.

    Fractional sides are resampled (Lanczos) to the next whole number.
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


def _upright(image: Image.Image, on_note: Note) -> Image.Image:
    # A phone's JPEG may have a gain map or a small copy beside the picture (MPO), which is not an animation.
    if getattr(image, "is_animated", False) and image.format not in ("JPEG", "MPO"):
        on_note(f"the picture has {getattr(image, 'n_frames', 'several')} frames or pages; the first is used")
    code_points = read_code_points(image)
    colours, alpha = to_eight_bits(image)
    found = to_srgb(colours, image, on_note, code_points)
    if alpha is not None:
        found = Image.composite(found, Image.new("RGB", found.size, "white"), alpha)
    return _turned(found, image)


def _turned(image: Image.Image, by: Image.Image) -> Image.Image:
    """`image` turned by the EXIF of `by`."""
    turn = _TURNS.get(by.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _reason(
    source: Image.Image | str | Path | bytes, error: BaseException, formats: tuple[str, ...] | None
) -> str:
    """Why a file cannot be read, in words."""
    # For a missing file: the OSError's text repeats the path or has an errno.
    if strerror := getattr(error, "strerror", None):
        return strerror
    head, size = _head(source)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return "it is HEIC, which Pillow cannot read; save or export it as JPEG or PNG first"
    riff = head[:4] == b"RIFF" and size < int.from_bytes(head[4:8], "little") + 8
    if riff or "truncated" in str(error).lower():
        return "it is cut short: the end of the file is missing; a whole copy works"
    if isinstance(source, Image.Image):
        return f"its mode {source.mode} or its pixels are beyond Pillow ({error}); one in RGB works"
    if formats is None:
        return "it is not a picture that Pillow can read; PNG, JPEG, WebP and TIFF work, among others"
    *some, last = ("WebP" if name == "WEBP" else name for name in formats)
    return f"it is not a {' or '.join([', '.join(some), last]) if some else last} that can be read"


def _head(source: Image.Image | str | Path | bytes) -> tuple[bytes, int]:
    """The first 12 bytes, and the size in bytes."""
    if isinstance(source, Image.Image):
        return b"", 0
    if isinstance(source, bytes):
        return source[:12], len(source)
    try:
        with Path(source).open("rb") as file:
            return file.read(12), Path(source).stat().st_size
    except OSError:
        return b"", 0
