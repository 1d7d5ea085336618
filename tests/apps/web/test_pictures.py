from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redilate import RedilateError
from redilate.apps.recorded_settings import read_settings
from redilate.apps.web import draw, sessions
from redilate.apps.web.draw import PageRequest

SETTINGS = {
    "prompt": "a red apple", "negative": None, "width": 640, "height": 320, "seed": 7, "steps": 2, "guidance": 3.0,
    "method": "redilate", "plan": None, "scheduler": "DDIMScheduler", "versions": {"redilate": "0"},
}  # fmt: skip


def test_a_kept_picture_carries_its_settings_and_has_a_small_copy(tmp_path: Path):
    image = Image.effect_noise((640, 320), 60).convert("RGB")
    path = sessions.own_folder(tmp_path) / sessions.file_name(SETTINGS)
    kept = sessions.Picture(PageRequest("a red apple"), path, 1.5, SETTINGS)
    kept.write(image)
    assert read_settings(kept.path) == SETTINGS
    with Image.open(kept.path) as stored, Image.open(kept.small) as small:
        assert np.array_equal(stored, image)
        assert small.size == (320, 160)
    assert kept.path.name == "a-red-apple-640x320-seed-7-redilate.png"
    kept.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prompt", ["../../etc/passwd", "", "苹果", "a\x00b/c\\d", "x" * 500])
def test_file_names_are_harmless_whatever_the_prompt(prompt: str):
    name = sessions.file_name(SETTINGS | {"prompt": prompt})
    assert re.fullmatch(r"[a-z0-9-]{1,95}\.png", name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_uploads_are_read_upright_and_opaque(kind: str, tmp_path: Path):
    image = (
        Image.new("RGBA", (40, 20), (0, 0, 0, 0)) if kind != "JPEG" else Image.new("RGB", (40, 20), "white")
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "it", kind, exif=exif)
    read, notes = draw.read_upload(tmp_path / "it")
    assert notes == () and read.mode == "RGB" and read.size == (20, 40)
    assert np.asarray(read).min() > 250  # what was transparent is white


def test_what_of_an_upload_is_not_used_is_told(tmp_path: Path):
    frames = [Image.new("RGB", (40, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "it", "WEBP", save_all=True, append_images=frames[1:])
    _, notes = draw.read_upload(tmp_path / "it")
    assert notes == ("the picture has 2 frames or pages; the first is used",)


def test_uploads_that_are_no_pictures_are_refused(tmp_path: Path):
    good = tmp_path / "good.png"
    Image.effect_noise((64, 64), 60).save(good)
    for name, content in {
        "text": b"not a picture",
        "empty": b"",
        "cut": good.read_bytes()[: good.stat().st_size // 2],
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "gif": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RedilateError, match=r"not a PNG, JPEG or WebP|cut short"):
            draw.read_upload(tmp_path / name)


def test_a_small_file_of_enormous_size_is_refused_before_it_is_decoded(tmp_path: Path):
    bomb = tmp_path / "bomb.png"
    Image.new("1", (8000, 8000)).save(bomb)
    assert bomb.stat().st_size < 50_000
    with pytest.raises(RedilateError, match="8000x8000 has 64000000 pixels; 50000000"):
        draw.read_upload(bomb)


def test_a_large_file_is_refused_unread(tmp_path: Path):
    big = tmp_path / "big.png"
    with big.open("wb") as file:
        file.truncate(draw.MOST_BYTES + 1)
    with pytest.raises(RedilateError, match="more than 32 MB"):
        draw.read_upload(big)
