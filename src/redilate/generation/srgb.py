"""A picture's own colour space → sRGB, which models are trained on."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

# x and y of white (D65), red, green and blue, as PNG's cHRM has them.
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_RGB = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
DISPLAY_P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
BT2020 = (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
# cICP's colour primaries, and its transfer characteristics as the nearest gamma (ITU-T H.273, tables 2 and 3); 0:
# sRGB's own curve. High dynamic range (16: PQ, 18: HLG) would need a tone curve and is not supported.
_PRIMARIES = {1: SRGB, 9: BT2020, 12: DISPLAY_P3}
_TRANSFERS = {1: 1 / 2.2, 4: 1 / 2.2, 5: 1 / 2.8, 6: 1 / 2.2, 8: 1.0, 13: 0.0, 14: 1 / 2.2, 15: 1 / 2.2}
# An ICC profile's colour space → Pillow's mode.
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
# Numbers within this of sRGB's are rounded ones of sRGB.
_CLOSE = 0.01
_ROWS_AT_ONCE = 2**20  # pixels that are computed in floating point at once
# Von Kries's adaptation to another white in Bradford's cone space (ICC.1:2022, annex E).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Floats = NDArray[np.float64]


def to_srgb(
    image: Image.Image,
    says: Image.Image,
    on_note: Callable[[str], None],
    code_points: tuple[int, int] | None = None,
) -> Image.Image:
    """`image` converted from the colour space that `says` declares to sRGB.

    The declarations in the order of the PNG specification (third edition, section 4.3): cICP, an ICC profile
    (perceptual intent), sRGB, gamma and chromaticities; then EXIF's mark of Adobe RGB (DCF 2.0), which cameras set
    without a profile.

    Args:
        image: "L", "RGB", "CMYK" or "LAB", 8 bits a channel.
        says: the picture as it was opened.
        on_note: called with a line if a declaration cannot be used.
        code_points: as `read_code_points` found them.
    """
    if code_points is not None:
        primaries, transfer = code_points
        if image.mode in ("L", "RGB") and primaries in _PRIMARIES and transfer in _TRANSFERS:
            return _by_numbers(image, _TRANSFERS[transfer], _PRIMARIES[primaries])
        on_note(
            f"the picture's colour space, cICP {primaries}/{transfer}, is not known here; what else the file says of "
            "its colours is used"
        )
    if says.info.get("icc_profile"):
        try:
            return _by_profile(image, says.info["icc_profile"])
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            on_note(
                f"the picture's colour profile cannot be used, and its colours are taken for sRGB: {error}"
            )
            return image.convert("RGB")
    if image.mode not in ("L", "RGB") or "srgb" in says.info:
        return image.convert("RGB")
    gamma, corners = says.info.get("gamma"), says.info.get("chromaticity")
    if gamma or corners:
        return _by_numbers(image, gamma or 1 / 2.2, corners if corners and len(corners) == 8 else SRGB)
    if _is_adobe_rgb(says):
        return _by_numbers(image, 1 / 2.2, ADOBE_RGB)
    return image.convert("RGB")


def read_code_points(image: Image.Image) -> tuple[int, int] | None:
    """Primaries and transfer of a PNG's cICP chunk, which Pillow ignores; None if there is none.

    Call it before the pixels are read, since Pillow then closes the file.
    """
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return None
    before = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"cICP" and length == 4:
                primaries, transfer, _, _ = file.read(4)
                return primaries, transfer
            file.seek(length + 4, 1)
        return None
    finally:
        file.seek(before)


def _is_adobe_rgb(image: Image.Image) -> bool:
    exif = image.getexif()
    # Pillow reads the inner tag whether it is there or not.
    if ExifTags.IFD.Interop not in exif.get_ifd(ExifTags.IFD.Exif):
        return False
    return exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) == "R03"


def _by_profile(image: Image.Image, icc: bytes) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    core: Any = profile.profile  # whose type Pillow's annotations do not tell
    space = str(core.xcolor_space)
    mode = _MODES.get(space, "none")
    if mode == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if mode != image.mode:
        raise ValueError(f"it is for {space.strip()}, not {image.mode}")
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.PERCEPTUAL,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode == "RGB" and _is_identity(transform):
        return image
    found = ImageCms.applyTransform(image, transform)
    assert found is not None  # only None where it is done in place
    return found


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it changes colours only by rounding: there are many versions of sRGB profiles."""
    levels = np.array(list(product(range(0, 256, 15), repeat=3)), dtype=np.uint8)[None]
    lattice = Image.fromarray(levels)
    changed = ImageCms.applyTransform(lattice, transform)
    return int(np.abs(np.asarray(changed).astype(int) - levels).max()) <= 1


def _by_numbers(image: Image.Image, gamma: float, corners: tuple[float, ...]) -> Image.Image:
    """To sRGB from values v of the light v^(1/gamma), for gamma 0 by sRGB's curve, in the primaries `corners`."""
    same_corners = image.mode == "L" or bool(np.allclose(corners, SRGB, atol=_CLOSE))
    if same_corners and (gamma == 0 or abs(gamma - 1 / 2.2) < _CLOSE):
        return image.convert("RGB")
    values = np.arange(256) / 255
    light = values ** (1 / gamma) if gamma else _decoded(values)
    if same_corners:
        curve = _encoded(light).tolist()
        return image.point(curve * len(image.getbands())).convert("RGB")
    try:
        matrix = np.linalg.inv(_to_xyz(SRGB)) @ _adapted(corners, SRGB) @ _to_xyz(corners)
    except np.linalg.LinAlgError:  # primaries on one line, or no white, are no colour space
        return image.convert("RGB")
    pixels = np.array(image)
    rows = max(1, _ROWS_AT_ONCE // image.width)
    for start in range(0, image.height, rows):
        pixels[start : start + rows] = _encoded(light[pixels[start : start + rows]] @ matrix.T)
    return Image.fromarray(pixels)


def _encoded(light: Floats) -> NDArray[np.uint8]:
    """sRGB's 8-bit values of linear light, clipped to [0, 1] (IEC 61966-2-1)."""
    light = light.clip(0, 1)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (values * 255).round().astype(np.uint8)


def _decoded(values: Floats) -> Floats:
    """The light of sRGB's values, both in [0, 1]: the inverse of `_encoded`."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _xyz(x: float, y: float) -> Floats:
    return np.array([x / y, 1, (1 - x - y) / y]) if y else np.zeros(3)


def _to_xyz(corners: tuple[float, ...]) -> Floats:
    """The matrix from linear RGB to XYZ (Lindbloom, RGB/XYZ matrices)."""
    white, *primaries = (_xyz(*corners[i : i + 2]) for i in range(0, 8, 2))
    basis = np.stack(primaries, axis=1)
    return basis * np.linalg.solve(basis, white)


def _adapted(corners: tuple[float, ...], to: tuple[float, ...]) -> Floats:
    before, after = (_BRADFORD @ _xyz(*one[:2]) for one in (corners, to))
    if not before.all():
        raise np.linalg.LinAlgError("no white")
    return np.linalg.inv(_BRADFORD) @ np.diag(after / before) @ _BRADFORD
