"""A picture of any bit depth and kind of transparency → 8 bits a channel and a separate opacity."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ..errors import RedilateError

# In these formats Pillow's 32-bit mode "I" has 16-bit values; None: a picture without a file.
_SIXTEEN_IN_I = ("PNG", "PPM", None)
_BITS_PER_SAMPLE = 258  # TIFF's tag
# Pillow scales a PNG's pixels to 8 bits, but not its transparent value: the missing factor by raw mode.
_KEY_SCALE = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}


def to_eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Its colours ("L", "RGB", "CMYK" or "LAB", in its own colour space), and its opacity ("L") or None.

    Raises:
        RedilateError: 32-bit values with an unknown white.
    """
    image = _with_scaled_key(image)
    image.load()  # what is damaged shows here
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        return above.convert("RGB").convert("L" if grey else "RGB"), above.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("L" if grey else "RGB"), None


def _deep(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The same for one channel of more than 8 bits."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    top = _top(image)
    # Not `low < 0`: NaN is refused too.
    if top is None or not 0 <= low <= high <= top:
        kind = "floating point" if image.mode == "F" else "whole numbers"
        works = "values from 0 to 1 work, as do" if image.mode == "F" else "what works is"
        raise RedilateError(
            f"its values are 32-bit {kind} from {low:g} to {high:g}, and it does not say which of them is white; "
            f"{works} 8 or 16 bits a channel"
        )
    grey = Image.fromarray((values.astype(np.float64) * (255 / top)).round().astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey, None
    return grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))


def _top(image: Image.Image) -> float | None:
    """The value of white; None if it is unknown."""
    if image.mode == "F":
        return 1.0
    if image.mode == "I":
        return 65_535.0 if image.format in _SIXTEEN_IN_I else None
    tags: Any = getattr(image, "tag_v2", {})
    return 2.0 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1


def _with_scaled_key(image: Image.Image) -> Image.Image:
    """`image` with its transparent value scaled as its pixels are."""
    key = image.info.get("transparency")
    # The raw mode is known only before the pixels are decoded.
    tiles = getattr(image, "tile", None)
    raw = tiles[0].args if tiles else None
    scale = _KEY_SCALE.get(raw) if isinstance(raw, str) else None
    if scale is None or not isinstance(key, int | tuple):
        return image
    scaled = image.copy()
    scaled.info["transparency"] = (
        tuple(int(one * scale) for one in key) if isinstance(key, tuple) else int(key * scale)
    )
    return scaled
