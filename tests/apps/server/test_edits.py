"""What clients send as pictures is read with care, and nothing else of it is opened."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from io import BytesIO
from random import Random
from typing import Any

import pytest
from PIL import Image

from redilate.apps.server.errors import ApiError
from redilate.apps.server.uploads import fitted, read_mask, read_picture

from .conftest import Served


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    out = BytesIO()
    image.save(out, format=kind, **how)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of black: some kilobytes for gigabytes of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    pixels = b"".join(packer.compress(row) for _ in range(min(height, 500))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_is_turned_upright_put_on_white_and_made_rgb():
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    found = read_picture(encoded(image, "PNG", exif=exif), megapixels=1)
    assert (found.size, found.mode, found.getpixel((0, 0))) == ((10, 20), "RGB", (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_of_its_formats_is_read(mode: str):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = Image.new(mode, (8, 8))
    assert read_picture(encoded(image, kind), megapixels=1).mode == "RGB"


def test_sixteen_bits_of_grey_become_eight():
    grey = Image.new("I;16", (8, 8), 128 * 256)
    assert read_picture(encoded(grey, "PNG"), megapixels=1).getpixel((0, 0)) == (128, 128, 128)


def test_another_ratio_is_met_by_cutting_not_by_stretching():
    image = Image.new("RGB", (300, 100), "white")
    image.paste("red", (100, 0, 200, 100))
    found = fitted(image, 64, 64)
    assert {found.getpixel((x, y)) for x in (4, 32, 60) for y in (0, 32, 63)} == {(255, 0, 0)}


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (5000, 1001)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int):
    data = bomb(min(width, 20_000), height) if width < 2**20 else bomb(8, 8).replace(
        struct.pack(">II", 8, 8), struct.pack(">II", width, height)
    )  # fmt: skip
    with pytest.raises(ApiError) as refusal:
        read_picture(data, megapixels=5)
    assert refusal.value.status_code in (400, 413)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PDF", "EPS"])
def test_other_formats_are_refused(kind: str):
    with pytest.raises(ApiError, match="PNG, JPEG or WebP"):
        read_picture(encoded(Image.new("RGB", (16, 16)), kind), megapixels=1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_picture_is_read_or_refused_and_nothing_else(kind: str):
    random = Random(0)
    noise = Image.frombytes("RGB", (24, 24), random.randbytes(24 * 24 * 3))
    whole = encoded(noise, kind)
    for cut in range(0, len(whole) * 3 // 4, 37):
        with pytest.raises(ApiError):
            read_picture(whole[:cut], megapixels=1)
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        with suppress(ApiError):
            assert read_picture(bytes(damaged), megapixels=1).mode == "RGB"


def send(served: Served, files: Any, **fields: str) -> tuple[int, str | None, str | None]:
    answer = served.http.post("/v1/images/edits", files=files, data={"prompt": "x", "steps": "2"} | fields)
    error = answer.json().get("error", {})
    return answer.status_code, error.get("code"), error.get("param")


def test_an_answer_says_what_of_the_picture_was_not_used(served: Served):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    out = BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    files = {"image": ("moving.webp", out.getvalue(), "image/webp")}
    fields = {"prompt": "x", "steps": "1", "size": "128x64"}
    (one,) = served.http.post("/v1/images/edits", files=files, data=fields).json()["data"]
    assert one["notes"][:2] == [
        "the picture has 2 frames or pages; the first is used",
        "the picture is 64x64: what 128x64 leaves no place for is cut",
    ]


def test_over_http_a_bomb_is_a_413_and_no_memory(served: Served):
    before = served.metric("process_resident_memory_bytes")
    files = {"image": ("bomb.png", bomb(20_000, 20_000), "image/png")}
    assert send(served, files) == (413, "image_too_large", "image")
    assert served.metric("process_resident_memory_bytes") < before + 200e6


def test_a_form_without_one_picture_or_with_wrong_fields_is_refused(served: Served):
    good = ("a.png", encoded(Image.new("RGB", (64, 64)), "PNG"), "image/png")
    assert send(served, {"image": ("a.png", b"no picture", "image/png")}) == (
        400,
        "invalid_image_file",
        "image",
    )
    assert send(served, {"other": good})[::2] == (400, "image")
    assert send(served, [("image[]", good), ("image[]", good)]) == (400, "invalid_value", "image")
    assert send(served, {"image": good, "markup": good}) == (400, "invalid_value", "markup")
    assert send(served, {"image": good}, strength="0") == (400, "invalid_value", "strength")
    assert send(served, {"image": good}, mode="relay") == (400, "unknown_parameter", "mode")
    assert send(served, {"image": good}, n="many") == (400, "invalid_value", "n")
    assert send(served, {"a": good, "b": good, "image": good})[0] == 400
    assert send(served, {"image": good}, prompt="") == (400, "invalid_value", "prompt")


def test_a_mask_is_transparent_or_white_where_the_picture_is_drawn_anew():
    image = Image.new("RGB", (64, 32))
    clear = Image.new("RGBA", (64, 32), (255, 255, 255, 255))
    clear.paste((9, 9, 9, 0), (0, 0, 16, 32))
    white = Image.new("RGB", (64, 32))
    white.paste("white", (0, 0, 16, 32))
    wanted = Image.new("L", (64, 32))
    wanted.paste(255, (0, 0, 16, 32))
    for mask in (clear, white, white.convert("P")):
        assert read_mask(encoded(mask, "PNG"), image, megapixels=1).tobytes() == wanted.tobytes()
    with pytest.raises(ApiError, match="it is 32x32, and the picture 64x32"):
        read_mask(encoded(Image.new("L", (32, 32), 255), "PNG"), image, megapixels=1)
    with pytest.raises(ApiError, match="nothing would be drawn anew"):
        read_mask(encoded(Image.new("L", (64, 32)), "PNG"), image, megapixels=1)
    with pytest.raises(ApiError, match="mask: cannot read the picture: it is not a PNG"):
        read_mask(b"no picture", image, megapixels=1)


def test_a_path_or_an_address_in_the_pictures_place_is_not_opened(served: Served, tmp_path: Any):
    (tmp_path / "secret.png").write_bytes(encoded(Image.new("RGB", (64, 64)), "PNG"))
    for text in (f"{tmp_path}/secret.png", f"file://{tmp_path}/secret.png", f"{served.root}/v1/models"):
        assert send(served, None, image=text) == (400, "invalid_value", "image")
        named = {"image": (text, b"", "image/png")}
        assert send(served, named)[0] == 400


def test_a_form_that_is_no_form_is_a_400(served: Served):
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "application/json"):
        answer = served.http.post(
            "/v1/images/edits", content=b"--x\r\nnonsense", headers={"Content-Type": kind}
        )
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
