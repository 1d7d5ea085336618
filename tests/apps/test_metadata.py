"""What a picture says about itself."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from random import Random

import diffusers
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from redilate import RedilateError
from redilate.apps.metadata import _SAMPLERS, check_prompts, embedding, parameters
from redilate.apps.recorded_settings import read_settings

SETTINGS = {
    "prompt": "a red apple",
    "negative": None,
    "width": 16,
    "height": 8,
    "seed": 7,
    "steps": 25,
    "guidance": 5.0,
    "scheduler": "EulerDiscreteScheduler",
    "method": "redilate",
    "plan": None,
    "versions": {"redilate": "0.1.0", "diffusers": "0.42.1", "torch": "2.13.0"},
    "model": "bundled",
}


KINDS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


def written(folder: Path, settings: dict, kind: str = "PNG") -> Path:
    path = folder / f"picture.{KINDS[kind]}"
    Image.new("RGB", (16, 8)).save(path, format=kind, **embedding(kind, settings))
    return path


def test_parameters_are_the_prompt_and_one_line_of_pairs():
    assert parameters(SETTINGS) == (
        "a red apple\n"
        "Steps: 25, Sampler: Euler, CFG scale: 5.0, Seed: 7, Size: 16x8, Model: bundled, "
        "Method: redilate, Version: redilate 0.1.0"
    )


def test_a_negative_prompt_has_the_line_between():
    lines = parameters(SETTINGS | {"negative": "two apples"}).splitlines()
    assert lines[1] == "Negative prompt: two apples"
    assert lines[2].startswith("Steps: 25, ")


def read_as_a1111(text: str) -> tuple[str, str, dict[str, str]]:
    """The prompt, the negative prompt and the pairs, as `parse_generation_parameters` of A1111 1.10 tells them."""
    *lines, last = text.strip().split("\n")
    parts: dict[bool, list[str]] = {False: [], True: []}
    done_with_prompt = False
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            done_with_prompt = True
            line = line.removeprefix("Negative prompt:").strip()
        parts[done_with_prompt].append(line)
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    return "\n".join(parts[False]), "\n".join(parts[True]), dict(pairs)


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [
        ("a red apple", None),
        ("two\nlines", "of\neach"),
        ("a sign that says\nNegative prompt: none", "blur"),
        ("Negative prompt: is a phrase", None),
        ("text: Negative prompt: inside a line", "and\nNegative prompt: here"),
        ("a cake\nSteps: flour, eggs, milk\n Steps: bake", "Steps: none"),
    ],
)
def test_galleries_read_each_prompt_whole(prompt: str, negative: str | None):
    text = parameters(SETTINGS | {"prompt": prompt, "negative": negative})
    found, against, pairs = read_as_a1111(text)
    assert found.replace(" :", ":").split() == prompt.split()
    assert against.replace(" :", ":").split() == (negative or "").split()
    assert len([line for line in text.splitlines() if line.strip().startswith("Steps:")]) == 1
    assert (pairs["Steps"], pairs["Seed"], pairs["Sampler"]) == ("25", "7", "Euler")


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        ("EulerAncestralDiscreteScheduler", "Euler a"),
        ("DPMSolverMultistepScheduler", "DPM++ 2M"),
        ("PNDMScheduler", "PLMS"),
        ("DEISMultistepScheduler", "DEISMultistepScheduler"),
    ],
)
def test_samplers_have_a1111s_names_where_it_has_them(scheduler: str, name: str):
    assert f"Sampler: {name}, CFG" in parameters(SETTINGS | {"scheduler": scheduler})


def test_every_sampler_that_is_named_is_a_class_of_diffusers():
    assert all(hasattr(diffusers, name) for name in _SAMPLERS)


@pytest.mark.parametrize("name", ["my, model", "a: b"])
def test_a_value_that_would_split_the_line_is_quoted(name: str):
    assert f'Model: "{name}", Method' in parameters(SETTINGS | {"model": name})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["a red apple", "jabłko 🍎, ein Äpfelchen", "two\nlines", "x" * 1500])
def test_settings_come_back_from_the_picture_as_they_went_in(tmp_path: Path, prompt: str, kind: str):
    settings = SETTINGS | {"prompt": prompt, "a later field": [1, None]}
    assert read_settings(written(tmp_path, settings, kind)) == settings


def test_a_png_has_the_text_where_galleries_look(tmp_path: Path):
    with Image.open(written(tmp_path, SETTINGS)) as image:
        assert image.info["parameters"] == parameters(SETTINGS)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_exif_has_the_text_where_a1111_puts_it_and_in_its_encoding(tmp_path: Path, kind: str):
    settings = SETTINGS | {"prompt": "jabłko 🍎"}
    with Image.open(written(tmp_path, settings, kind)) as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == parameters(settings)


def test_a_prompt_that_a_jpeg_cannot_hold_is_refused_and_one_that_it_can_fits(tmp_path: Path):
    with pytest.raises(RedilateError, match=r"characters.*PNG and WebP can"):
        check_prompts("JPEG", "🍎" * 4000, None)
    check_prompts("PNG", "🍎" * 4000, None)
    settings = SETTINGS | {"prompt": "🍎" * 1500}
    check_prompts("JPEG", settings["prompt"], None)
    assert read_settings(written(tmp_path, settings, "JPEG")) == settings
    with pytest.raises(RedilateError, match="a JPEG holds 65527"):
        written(tmp_path, SETTINGS | {"plan": "x" * 70_000}, "JPEG")


def test_a_prompt_that_is_no_text_is_refused():
    with pytest.raises(RedilateError, match="not UTF-8"):
        check_prompts("PNG", "half a pair \ud800", None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_settings_is_refused(tmp_path: Path, kind: str):
    path = tmp_path / "plain.picture"
    exif = Image.Exif()
    exif[0x010E] = "my holidays"
    Image.new("RGB", (8, 8)).save(path, format=kind, exif=exif)
    with pytest.raises(RedilateError, match="carries no settings"):
        read_settings(path)


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(RedilateError, match=r"not a PNG, JPEG or WebP"):
        read_settings(tmp_path / "text.png")


@pytest.mark.parametrize("path", ["no-such.png", "/dev/zero", "."])
def test_what_is_no_file_is_refused(path: str):
    with pytest.raises(RedilateError, match="there is no file"):
        read_settings(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_or_with_bytes_changed_is_read_or_refused_and_nothing_else(
    tmp_path: Path, kind: str
):
    whole = written(tmp_path, SETTINGS, kind).read_bytes()
    damaged = tmp_path / "damaged"
    refused = 0
    random = Random(0)
    cuts = [whole[:end] for end in range(0, len(whole), max(1, len(whole) // 60))]
    flips = [bytearray(whole) for _ in range(300)]
    for flipped in flips:
        for _ in range(4):
            flipped[random.randrange(len(flipped))] = random.randrange(256)
    for data in [*cuts, *flips]:
        damaged.write_bytes(data)
        try:
            read_settings(damaged)
        except RedilateError:
            refused += 1
    assert refused > len(cuts) // 2


def test_a_text_that_unpacks_to_more_than_a_picture_may_hold_is_refused(tmp_path: Path):
    info = PngInfo()
    info.add_text("redilate", " " * 50_000_000, zip=True)
    path = tmp_path / "bomb.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    assert path.stat().st_size < 100_000
    with pytest.raises(RedilateError, match="too large"):
        read_settings(path)


def test_a_picture_that_claims_more_pixels_than_can_be_is_refused(tmp_path: Path):
    whole = bytearray(written(tmp_path, SETTINGS).read_bytes())
    whole[16:24] = struct.pack(">II", 2**30, 2**30)
    whole[29:33] = struct.pack(">I", zlib.crc32(bytes(whole[12:29])))
    (tmp_path / "vast.png").write_bytes(whole)
    with pytest.raises(RedilateError, match="decompression bomb"):
        read_settings(tmp_path / "vast.png")
