"""`redilate generate --mode relay` and `redilate enlarge`, as a user runs them."""

import json

import pytest
from PIL import Image

from redilate.apps.cli import main
from redilate.apps.metadata import read_settings
from tests.marks import needs_real_esrgan


@pytest.fixture
def run(capfd):
    """Runs a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        return int(ending.value.code or 0), *capfd.readouterr()

    return run


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.radial_gradient("L").resize((60, 44)).save(path)
    return path


def test_a_relay_writes_its_preview_and_its_settings(run, tiny_pipeline_folder, tmp_path):
    output, preview = tmp_path / "apple.png", tmp_path / "small.webp"
    usual = ["--size", "320x320", "--steps", 2, "--model", tiny_pipeline_folder, "-o", output]
    code, out, _ = run("generate", "an apple", *usual, "--preview", preview)
    assert (code, out) == (0, f"{output}\n")
    with Image.open(preview) as small, Image.open(output) as large:
        assert (small.size, large.size) == ((256, 256), (320, 320))
    settings = read_settings(output)
    assert settings["mode"] == "relay" and settings["relay"]["sizes"][0]["width"] == 320


def test_the_method_relay_is_the_mode(run, tiny_pipeline_folder, tmp_path):
    usual = ["--size", "320x320", "--steps", 2, "--model", tiny_pipeline_folder, "-o"]
    by_method = run(
        "generate", "x", *usual, tmp_path / "a.png", "--method", "relay", "--preview", tmp_path / "p.png"
    )
    assert (by_method[0], run("generate", "x", *usual, tmp_path / "b.png", "--mode", "relay")[0]) == (0, 0)
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as other:
        assert one.tobytes() == other.tobytes()
    assert read_settings(tmp_path / "a.png")["method"] == "redilate"
    code, _, err = run("generate", "x", *usual, tmp_path / "c.png", "--method", "relay", "--mode", "single")
    assert code == 2 and "the method relay is a relay, not single" in err


def test_the_bundled_model_has_a_guidance_of_its_own(run, tiny_pipeline_folder, tmp_path):
    for more, expected in (([], 3.0), (["--model", tiny_pipeline_folder], 5.0), (["--guidance", 2], 2.0)):
        path = tmp_path / f"{expected}.png"
        assert run("generate", "an apple", "--steps", 1, *more, "-o", path)[0] == 0
        assert read_settings(path)["guidance"] == expected


def test_several_pictures_have_a_preview_each(run, tiny_pipeline_folder, tmp_path):
    usual = ["--steps", 1, "--model", tiny_pipeline_folder, "-o", tmp_path / "a.png", "--count", 2]
    assert run("generate", "x", *usual, "--mode", "relay", "--preview", tmp_path / "p.png")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.png", "a-2.png", "p-1.png", "p-2.png"]


def test_enlarge_writes_beside_the_picture_and_prints_the_path(run, tiny_pipeline_folder, photo):
    code, out, err = run("enlarge", photo, "--scale", 3, "--steps", 2, "--model", tiny_pipeline_folder)
    result = photo.with_name("photo-enlarged.png")
    assert (code, out) == (0, f"{result}\n") and err.startswith("180x132 from 60x44, ")
    with Image.open(result) as image:
        assert image.size == (180, 132)
    assert read_settings(result)["enlarged_from"] == [60, 44]


def test_enlarge_in_json_takes_a_prompt_and_a_width(run, tiny_pipeline_folder, photo, tmp_path):
    usual = ["--width", 90, "--prompt", "an eye", "--steps", 2, "--model", tiny_pipeline_folder]
    code, out, err = run("enlarge", photo, *usual, "-o", tmp_path / "eye.webp", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and told["settings"]["prompt"] == "an eye"
    assert (told["settings"]["width"], told["settings"]["height"]) == (90, 66)


@needs_real_esrgan
def test_a_network_enlarges_before_the_model_draws_on(run, tiny_pipeline_folder, photo, tmp_path):
    by = ["--steps", 2, "--upscaler", "realesrgan-x4plus-anime", "--model", tiny_pipeline_folder]
    assert run("enlarge", photo, "--scale", 3, *by)[0] == 0
    (stage,) = read_settings(photo.with_name("photo-enlarged.png"))["relay"]["stages"]
    assert (stage["enlarge"], stage["guidance"]) == ("realesrgan-x4plus-anime", None)
    made, again = tmp_path / "apple.png", tmp_path / "again.png"
    assert run("generate", "an apple", "--size", "288x288", *by, "-o", made)[0] == 0
    assert read_settings(made)["relay"]["stages"][0]["enlarge"] == "realesrgan-x4plus-anime"
    assert run("generate", "--from", made, "--model", tiny_pipeline_folder, "-o", again)[0] == 0
    with Image.open(made) as first, Image.open(again) as second:
        assert first.tobytes() == second.tobytes()


def test_an_upscaler_that_is_not_installed_is_missed_before_the_model_is_looked_for(run, photo, monkeypatch):
    monkeypatch.setattr("redilate.generation.super_resolution.find_spec", lambda name: None)
    code, out, err = run(
        "enlarge", photo, "--scale", 2, "--upscaler", "realesrgan-x4plus", "--model", "/nowhere"
    )
    assert (code, out) == (2, "") and "redilate[upscale]" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "x", "-o", "a.png", "--mode", "single", "--preview", "p.png"], "--mode relay"),
        (["generate", "x", "-o", "a.png", "--mode", "relay", "--preview", "p.xyz"], "'.xyz'"),
        (["generate", "x", "-o", "a.png", "--mode", "cascade"], "cascade"),
        (
            ["generate", "x", "-o", "a.png", "--mode", "single", "--upscaler", "realesrgan-x4plus"],
            "--upscaler",
        ),
        (["generate", "x", "-o", "a.png", "--method", "freeu", "--upscaler", "realesrgan-x4plus"], "freeu"),
        (["generate", "x", "-o", "a.png", "--upscaler", "swinir"], "swinir"),
        (["enlarge", "photo.jpg"], "--scale"),
        (["enlarge", "photo.jpg", "--scale", "2", "--width", "9"], "--scale"),
        (["enlarge", "photo.jpg", "--scale", "2", "-o", "b.gif"], "'.gif'"),
        (["enlarge", "nothing.jpg", "--scale", "2"], "nothing.jpg"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals_are_one_line_before_the_model_is_looked_for(run, photo, monkeypatch, arguments, words):
    monkeypatch.chdir(photo.parent)
    code, out, err = run(*arguments, "--model", "no/such/model")
    assert (code, out) == (2, "") and err.count("\n") == 1 and words in err
    assert [path.name for path in photo.parent.iterdir()] == ["photo.jpg"]
