"""Colour profiles, PNG's own colour chunks and cameras' Adobe RGB are honoured: the colours are those meant."""

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from redilate.generation.photos import read_photo

P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
# Display P3's (88, 156, 97) in sRGB, by the matrices of SMPTE EG 432-1 and IEC 61966-2-1.
DULL, MEANT = (88, 156, 97), (58, 158, 91)


def tag(data):
    return data + b"\0" * (-len(data) % 4)


def s15(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space, tags):
    """An ICC profile (version 2.1) of these tags."""
    offset, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        entries += name + struct.pack(">II", offset + len(body), len(data))
        body += tag(data)
    whole = struct.pack(">I", len(tags)) + entries + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(whole), b"\0" * 4, 0x02100000, b"mntr", space, b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + s15(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + whole


def rgb_profile(*columns, gamma=2.2):
    """Of these three XYZ columns (adapted to D50) and one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {b"wtpt": b"XYZ \0\0\0\0" + s15(0.9642, 1, 0.8249)}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + s15(*column)
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


P3_PROFILE = rgb_profile((0.5151, 0.2412, -0.0011), (0.292, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
# Red where sRGB has blue, and blue where it has red.
SWAPPED = rgb_profile((0.1431, 0.0606, 0.7141), (0.3851, 0.7169, 0.0971), (0.4361, 0.2225, 0.0139))


def encoded(image, kind="PNG", **how):
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def colour(data):
    return np.asarray(read_photo(data))[4, 4].astype(int)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_phones_display_p3_is_not_dulled(kind):
    data = encoded(Image.new("RGB", (8, 8), DULL), kind, icc_profile=P3_PROFILE)
    assert abs(colour(data) - MEANT).max() <= 3


def test_a_profile_that_swaps_channels_swaps_them_and_transparency_stays():
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 255))
    image.putpixel((0, 0), (200, 100, 50, 0))
    data = encoded(image, icc_profile=SWAPPED)
    assert abs(colour(data) - (50, 100, 200)).max() <= 4
    assert read_photo(data).getpixel((0, 0)) == (255, 255, 255)


def test_a_grey_profile_is_used_for_grey_with_and_without_transparency():
    linear = profile(
        b"GRAY",
        {
            b"wtpt": b"XYZ \0\0\0\0" + s15(0.9642, 1, 0.8249),
            b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0),
        },
    )
    for image in (Image.new("L", (8, 8), 55), Image.new("LA", (8, 8), (55, 255))):
        # Light of 55 / 255 is sRGB's 128.
        assert abs(colour(encoded(image, icc_profile=linear)) - 128).max() <= 1


def test_cmyk_goes_through_its_profile():
    # A press on which magenta with yellow is grey: L* 50, sRGB's 119 (lut8Type, ICC.1:2022 10.10).
    straight = bytes(range(256))
    table = bytes([255, 128, 128] + [128, 128, 128] * 14 + [0, 128, 128])
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += straight * 4 + table + straight * 3
    made = profile(b"CMYK", {b"A2B0": lut, b"wtpt": b"XYZ \0\0\0\0" + s15(0.9642, 1, 0.8249)})
    made = made[:12] + b"prtr" + b"CMYK" + b"Lab " + made[24:]
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", icc_profile=made)
    assert abs(colour(data) - 119).max() <= 3


def test_srgbs_own_profile_changes_no_bit():
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_photo(encoded(noise, icc_profile=own)).tobytes() == noise.tobytes()


@pytest.mark.parametrize("icc", [b"no profile", P3_PROFILE[:200]])
def test_a_profile_that_cannot_be_used_is_told_and_the_picture_read(icc):
    told = []
    found = read_photo(encoded(Image.new("RGB", (8, 8), DULL), icc_profile=icc), on_note=told.append)
    assert found.getpixel((0, 0)) == DULL and "colour profile" in told[0]


def png_with(image, **chunks):
    """A PNG with chunks of its own before the pixels."""
    info = PngImagePlugin.PngInfo()
    for name, data in chunks.items():
        info.add(name.encode(), data)
    return encoded(image, pnginfo=info)


def numbers(*values):
    return struct.pack(f">{len(values)}I", *(round(value * 100_000) for value in values))


def test_pngs_gamma_and_chromaticities_are_honoured():
    flat = Image.new("RGB", (8, 8), DULL)
    assert abs(colour(png_with(flat, gAMA=numbers(1 / 2.2), cHRM=numbers(*P3))) - MEANT).max() <= 3
    # Light of 55 / 255 is sRGB's 128.
    for mode, value in {"L": 55, "RGB": (55, 55, 55)}.items():
        assert colour(png_with(Image.new(mode, (8, 8), value), gAMA=numbers(1.0))).tolist() == [128] * 3


def test_chunks_that_say_srgb_change_no_bit_and_go_before_gamma():
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    corners = numbers(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    assert read_photo(png_with(noise, gAMA=numbers(0.45455), cHRM=corners)).tobytes() == noise.tobytes()
    assert read_photo(png_with(noise, sRGB=b"\0", gAMA=numbers(1.0))).tobytes() == noise.tobytes()


def test_pngs_coding_independent_code_points_go_before_all_else():
    flat = Image.new("RGB", (8, 8), DULL)
    # By hand, with the matrix from linear Display P3 to linear sRGB: rows 1.2249 -0.2247 0, -0.0420 1.0419 0 and
    # -0.0197 -0.0786 1.0979.
    assert colour(png_with(flat, cICP=bytes([12, 13, 0, 1]), sRGB=b"\0")).tolist() == [60, 158, 90]
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    assert read_photo(png_with(noise, cICP=bytes([1, 13, 0, 1]))).tobytes() == noise.tobytes()
    assert colour(png_with(Image.new("L", (8, 8), 55), cICP=bytes([1, 8, 0, 1]))).tolist() == [128] * 3


def test_a_high_dynamic_range_that_is_not_known_is_told():
    told = []
    flat = Image.new("RGB", (8, 8), DULL)
    found = read_photo(png_with(flat, cICP=bytes([9, 16, 0, 1])), on_note=told.append)
    assert found.getpixel((0, 0)) == DULL and "cICP 9/16" in told[0]


def test_chromaticities_that_are_no_colour_space_are_passed_over():
    flat = Image.new("RGB", (8, 8), DULL)
    for corners in ((0.0,) * 8, (0.3,) * 8):
        assert tuple(colour(png_with(flat, cHRM=numbers(*corners)))) == DULL


def test_a_cameras_adobe_rgb_without_a_profile_is_honoured():
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: "R03"}
    data = encoded(Image.new("RGB", (8, 8), (100, 200, 100)), "JPEG", exif=exif, quality=100)
    if Image.open(io.BytesIO(data)).getexif().get_ifd(ExifTags.IFD.Interop).get(1) != "R03":
        pytest.fail("Pillow wrote no interoperability tag")
    red, green, blue = colour(data)
    assert red < 30 and green >= 199 and 92 <= blue <= 100
