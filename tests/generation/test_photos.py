"""Pictures that users have, as they come: turned, transparent, deep, huge, broken."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

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
