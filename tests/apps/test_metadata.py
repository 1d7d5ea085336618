"""What a picture says about itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from redilate import RedilateError
from redilate.apps.metadata import parameters, png_info, read_settings

SETTINGS = {
    "prompt": "a red apple",
    "negative": None,
    "width": 1024,
    "height": 768,
    "seed": 7,
    "steps": 25,
    "guidance": 5.0,
    "scheduler": "EulerDiscreteScheduler",
    "method": "redilate",
    "plan": None,
    "versions": {"redilate": "0.1.0", "diffusers": "0.42.1", "torch": "2.13.0"},
    "model": "bundled",
}


def written(folder: Path, settings: dict) -> Path:
    path = folder / "picture.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=png_info(settings))
    return path


def test_parameters_are_the_prompt_and_one_line_of_pairs():
    assert parameters(SETTINGS) == (
        "a red apple\n"
        "Steps: 25, Sampler: EulerDiscreteScheduler, CFG scale: 5.0, Seed: 7, Size: 1024x768, Model: bundled, "
        "Method: redilate, Version: redilate 0.1.0"
    )


def test_a_negative_prompt_has_the_line_between():
    lines = parameters(SETTINGS | {"negative": "two apples"}).splitlines()
    assert lines[1] == "Negative prompt: two apples"
    assert lines[2].startswith("Steps: 25, ")


@pytest.mark.parametrize("name", ["my, model", "a: b"])
def test_a_value_that_would_split_the_line_is_quoted(name: str):
    assert f'Model: "{name}", Method' in parameters(SETTINGS | {"model": name})


@pytest.mark.parametrize("prompt", ["a red apple", "jabłko 🍎, ein Äpfelchen", "two\nlines"])
def test_settings_come_back_from_the_png_as_they_went_in(tmp_path: Path, prompt: str):
    settings = SETTINGS | {"prompt": prompt}
    path = written(tmp_path, settings)
    assert read_settings(path) == settings
    with Image.open(path) as image:
        assert image.info["parameters"] == parameters(settings)


def test_a_picture_without_settings_is_refused(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(RedilateError, match="carries no settings"):
        read_settings(tmp_path / "plain.png")


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(RedilateError, match="not a picture"):
        read_settings(tmp_path / "text.png")
