"""Pictures that users have, as they come: turned, transparent, deep, huge, broken."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from redilate import RedilateError
from redilate.generation.photos import MAX_PIXELS, padded, read_photo


def test_exif_rotation_is_honoured(tmp_path):
    image = Image.new("RGB", (40, 20), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    upright = read_photo(tmp_path / "turned.png")
    assert upright.size == (20, 40) and upright.getpixel((19, 0)) == (255, 0, 0)


def test_what_is_transparent_becomes_white(tmp_path):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.putpixel((3, 3), (0, 0, 255, 255))
    found = read_photo(image)
    assert found.mode == "RGB" and found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((3, 3)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "HSV"])
def test_other_modes_become_rgb(mode):
    found = read_photo(Image.new("RGB", (8, 8), "white").convert(mode))
    assert found.mode == "RGB" and found.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_not_clipped():
    grey = Image.fromarray(np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16))
    found = np.asarray(read_photo(grey))
    assert found[..., 0].tolist() == [[0, 100], [200, 255]]


def png_head(width, height):
    """A PNG that says how large it is and holds next to nothing: a decompression bomb's head."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "side", [8193, 9500, 60000], ids=["above our bound", "Pillow warns", "Pillow refuses"]
)
def test_too_many_pixels_are_refused_from_the_files_head_alone(tmp_path, side, recwarn):
    (tmp_path / "bomb.png").write_bytes(png_head(side, side))
    with pytest.raises(RedilateError, match=str(MAX_PIXELS)):
        read_photo(tmp_path / "bomb.png")
    assert not [one for one in recwarn if issubclass(one.category, Image.DecompressionBombWarning)]


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(RedilateError, match=r"note\.png: it is not a picture"):
        read_photo(tmp_path / "note.png")
    with pytest.raises(RedilateError, match=r"missing\.png: No such file"):
        read_photo(tmp_path / "missing.png")


def test_a_picture_cut_off_is_refused_by_name(tmp_path):
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "PNG")
    (tmp_path / "half.png").write_bytes(whole.getvalue()[:900])
    with pytest.raises(RedilateError, match=r"half\.png"):
        read_photo(tmp_path / "half.png")


def test_padding_continues_the_edge_and_whole_sizes_move_no_pixel():
    image = Image.effect_noise((10, 7), 50).convert("RGB")
    wide = padded(image, 12, 8)
    assert wide.size == (12, 8) and wide.crop((0, 0, 10, 7)).tobytes() == image.tobytes()
    assert wide.getpixel((11, 7)) == image.getpixel((9, 6))
    assert padded(image, 10, 7) is image


def test_a_fraction_of_a_pixel_is_met():
    image = Image.linear_gradient("L").convert("RGB")  # 256×256, a level a row
    cut = padded(image, 256, 255.5)
    assert cut.size == (256, 256) and abs(cut.getpixel((0, 255))[0] - 254.5) <= 1


def encoded(image, kind="PNG", **how):
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_does(orientation):
    noise = Image.effect_noise((24, 16), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert read_photo(data).tobytes() == ImageOps.exif_transpose(image).tobytes()


def test_floating_point_from_0_to_1_is_scaled_to_white(tmp_path):
    values = np.array([[0, 0.25], [0.5, 1]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "float.tif")
    found = np.asarray(read_photo(tmp_path / "float.tif"))
    assert found[..., 1].tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([[0, 200.0]], dtype=np.float32), "floating point from 0 to 200"),
        (np.array([[0, np.nan]], dtype=np.float32), "floating point"),
        (np.array([[-0.5, 1]], dtype=np.float32), "floating point from -0.5 to 1"),
        (np.array([[0, 70_000]], dtype=np.int32), "whole numbers from 0 to 70000"),
        (np.array([[0, 200]], dtype=np.int32), "whole numbers from 0 to 200"),
    ],
)
def test_32_bit_values_without_a_known_white_are_refused_by_name(tmp_path, values, kind):
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with pytest.raises(RedilateError, match=rf"deep\.tif: its values are 32-bit {kind}.*8 or 16 bits"):
        read_photo(tmp_path / "deep.tif")


def test_12_bits_in_16_are_scaled_by_their_own_white():
    values = np.array([[0, 4095]], dtype="<u2")
    packed = bytes([0x00, 0x0F, 0xFF])
    tags = {256: (4, 2), 257: (4, 1), 258: (3, 12), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1)}
    tags |= {278: (4, 1), 279: (4, 3)}
    tags[273] = (4, 8 + 2 + 12 * len(tags) + 4)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + packed
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == values.tolist()
    assert np.asarray(read_photo(data))[0, :, 0].tolist() == [0, 255]


def png(depth, colour, row, transparent):
    """A PNG of one row, with a transparent value."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width = len(row) * 8 // depth // {0: 1, 2: 3}[colour]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", transparent) + pixels


@pytest.mark.parametrize(
    ("data", "reds"),
    [
        (png(16, 0, struct.pack(">HH", 300, 25_700), struct.pack(">H", 300)), [255, 100]),
        (png(8, 0, bytes([3, 100]), struct.pack(">H", 3)), [255, 100]),
        (png(4, 0, bytes([0x5A]), struct.pack(">H", 5)), [255, 170]),
        (png(2, 0, bytes([0b00011011]), struct.pack(">H", 1)), [0, 255, 170, 255]),
        (png(1, 0, bytes([0b01001111]), struct.pack(">H", 0)), [255] * 8),
        (png(16, 2, struct.pack(">6H", 300, 60_000, 5, 25_700, 0, 0), struct.pack(">3H", 300, 60_000, 5)), [255, 100]),
        (png(8, 2, bytes([1, 2, 3, 100, 5, 6]), struct.pack(">3H", 1, 2, 3)), [255, 100]),
    ],
    ids=["grey 16", "grey 8", "grey 4", "grey 2", "grey 1", "RGB 16", "RGB 8"],
)  # fmt: skip
def test_a_transparent_value_becomes_white_in_every_depth_and_nothing_else_does(data, reds):
    assert np.asarray(read_photo(data))[0, :, 0].tolist() == reds


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read_and_that_is_said(kind):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    data = encoded(first, kind, save_all=True, append_images=[second])
    told = []
    assert read_photo(data, on_note=told.append).getpixel((4, 4))[0] > 240
    assert told == ["the picture has 2 frames or pages; the first is used"]
    with pytest.warns(UserWarning, match="2 frames"):
        read_photo(data)


def test_one_frame_is_not_talked_of():
    told = []
    read_photo(encoded(Image.new("RGB", (8, 8)), "GIF"), on_note=told.append)
    assert told == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_cut_short_says_so(kind):
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    data = encoded(noise, kind)
    with pytest.raises(RedilateError, match="cut short"):
        read_photo(data[: len(data) * 3 // 4])


def test_heic_says_what_to_do():
    head = struct.pack(">I", 24) + b"ftypheic" + b"\0\0\0\0mif1heic"
    with pytest.raises(RedilateError, match=r"HEIC.*JPEG or PNG"):
        read_photo(head + b"\0" * 100)


def test_formats_that_are_not_wanted_are_refused_with_those_that_are():
    with pytest.raises(RedilateError, match="not a PNG or JPEG that can be read"):
        read_photo(encoded(Image.new("RGB", (8, 8)), "GIF"), formats=("PNG", "JPEG"))
