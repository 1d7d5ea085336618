"""`redilate generate`: its picture at the native size, its second pass, and refusals before the model is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image, ImageChops
from typer.testing import CliRunner

from redilate.apps.main import app, main
from redilate.apps.recorded_settings import read_settings
from redilate.generation import resolve as resolving

run = CliRunner()


def test_the_native_picture_comes_first_and_the_legs_are_recorded(tiny_pipeline_folder: Path, tmp_path: Path):
    out, first = tmp_path / "apple.png", tmp_path / "first.png"
    asked = ["--model", str(tiny_pipeline_folder), "--size", "384x384", "--steps", "4", "--strength", "0.5"]
    ended = run.invoke(app, ["generate", "apple", *asked, "-o", str(out), "--preview", str(first)])
    assert ended.exit_code == 0, ended.output
    with Image.open(first) as native, Image.open(out) as large:
        assert (native.size, large.size) == ((256, 256), (384, 384))
    settings = read_settings(out)
    assert settings["strength"] == 0.5 and [leg["width"] for leg in settings["legs"]] == [256, 384]
    assert settings["legs"][-1]["dilated"] > 0


def test_a_strength_below_the_plans_end_is_said_on_stderr(tiny_pipeline_folder: Path, tmp_path: Path):
    asked = ["--model", str(tiny_pipeline_folder), "--size", "384x384", "--steps", "4", "--strength", "0.2"]
    ended = run.invoke(app, ["generate", "apple", *asked, "-o", str(tmp_path / "apple.png")])
    assert ended.exit_code == 0 and "runs as trained" in ended.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--method", "hidiffusion", "--strength", "0.5"], "--strength is for the method redilate"),
        (["--method", "fouriscale", "--hires-steps", "3"], "--hires-* is for the method redilate"),
        (["--method", "hidiffusion", "--hires-model", "x/y"], "--hires-* is for the method redilate"),
        (["--method", "hidiffusion", "--preset", "faithful"], "--preset is for the method redilate"),
        (["--preview", "p.xyz"], "'.xyz'"),
        (["--control", "sketch.png"], "--controlnet and --control go together"),
        (["--hires-guidance", "inf"], "the second pass: guidance inf"),
        (["--hires-lora-scale", "nan"], "the second pass: lora_scale nan"),
        (["--method", "magic"], "unknown method 'magic'"),
    ],
)
def test_refusals_are_one_line_before_the_model_is_looked_for(
    options: list[str], says: str, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ending:
        main(["generate", "x", "-o", "a.png", "--model", "no/where", *options])
    err = capfd.readouterr().err
    assert ending.value.code == 2 and err.count("\n") == 1 and says in err


def test_pictures_drawn_together_are_kept_each_with_settings_that_draw_it_alone(
    tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = ["--model", str(tiny_pipeline_folder), "--size", "384x384", "--steps", "2", "--device", "cpu"]
    out, first = tmp_path / "a.png", tmp_path / "p.png"
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(resolving, "has_own_memory", lambda _: True)
        asked = [*asked, "--seed", "4", "--count", "2", "--preview", str(first)]
        ended = run.invoke(app, ["generate", "fox", *asked, "-o", str(out)])
    assert ended.exit_code == 0, ended.output
    for number in (1, 2):
        assert (tmp_path / f"p-{number}.png").is_file()
        path = tmp_path / f"a-{number}.png"
        assert read_settings(path)["seed"] == 3 + number
        again = [*asked[:2], "--from", str(path), "-o", str(tmp_path / "b.png")]
        assert run.invoke(app, ["generate", *again]).exit_code == 0
        with Image.open(path) as one, Image.open(tmp_path / "b.png") as other:
            assert max(high for _, high in ImageChops.difference(one, other).getextrema()) <= 2


def test_a_picture_says_which_controlnet_drew_it(tiny_pipeline_folder: Path, tmp_path: Path):
    unet = UNet2DConditionModel.from_pretrained(tiny_pipeline_folder, subfolder="unet")
    ControlNetModel.from_unet(unet).save_pretrained(tmp_path / "edges")
    Image.new("RGB", (64, 64)).save(tmp_path / "sketch.png")
    few = ["--model", str(tiny_pipeline_folder), "--size", "64x64", "--steps", "1"]
    follow = ["--controlnet", str(tmp_path / "edges"), "--control", str(tmp_path / "sketch.png")]
    out = tmp_path / "a.png"
    ended = run.invoke(app, ["generate", "fox", *few, *follow, "-o", str(out)])
    assert ended.exit_code == 0, ended.output
    assert "it/s" not in ended.stderr, "no bar of diffusers' own"
    assert read_settings(out)["controlnet"] == "edges"
    again = run.invoke(app, ["generate", "--from", str(out), *few[:2], "-o", str(tmp_path / "b.png")])
    assert again.exit_code == 0 and "ControlNet was edges, and is none now" in again.stderr


def test_a_picture_says_which_model_drew_its_second_pass_and_another_method_may_draw_it(
    tiny_pipeline_folder: Path, tmp_path: Path
):
    few = ["--model", str(tiny_pipeline_folder), "--size", "384x384", "--steps", "2"]
    second = ["--hires-model", str(tiny_pipeline_folder), "--preset", "faithful"]
    out = tmp_path / "a.png"
    ended = run.invoke(app, ["generate", "fox", *few, *second, "-o", str(out)])
    assert ended.exit_code == 0, ended.output
    assert read_settings(out)["hires_model"] == tiny_pipeline_folder.name
    again = run.invoke(app, ["generate", "--from", str(out), *few[:2], "-o", str(tmp_path / "b.png")])
    assert again.exit_code == 0 and "its second pass's model was" in again.stderr
    asked = ["generate", "--from", str(out), *few[:2], "--method", "direct", "-o", str(tmp_path / "c.png")]
    ended = run.invoke(app, asked)
    assert ended.exit_code == 0, ended.output
    settings = read_settings(tmp_path / "c.png")
    assert settings["method"] == "direct" and settings.get("preset", "default") == "default"
