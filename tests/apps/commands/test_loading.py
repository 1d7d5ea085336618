"""What the commands take beside a model: --vae, --lora, --offload; refused before anything is loaded, and recorded."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from redilate.apps.command_line import lora_name
from redilate.apps.main import app
from redilate.apps.recorded_settings import read_settings
from redilate.pipelines import loading
from tests.models import tiny_sdxl

run = CliRunner()


@pytest.mark.parametrize("command", [
    ["generate", "fox"], ["enlarge", "x.png", "--scale", "2"], ["serve"], ["web"],
    ["batch", "prompts.txt", "--size", "64x64", "--out", "out"],
], ids=lambda command: command[0])  # fmt: skip
def test_help_names_them(command):
    shown = run.invoke(app, [command[0], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    assert all(option in shown for option in ("--vae", "--lora", "--offload"))


def test_a_lora_that_is_not_there_is_refused_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_, **__: pytest.fail("loaded"))
    ended = run.invoke(
        app, ["generate", "fox", "-o", str(tmp_path / "a.png"), "--lora", "none.safetensors:0.5"]
    )
    assert ended.exit_code == 2 and "there is no LoRA at none.safetensors" in ended.stderr


def test_what_a_picture_was_drawn_with_is_in_it(tmp_path, tiny_pipeline_folder):
    other = tiny_sdxl(seed=7).vae
    other.save_pretrained(tmp_path / "other")
    asked = [
        "generate",
        "fox",
        "-o",
        str(tmp_path / "a.png"),
        "--model",
        str(tiny_pipeline_folder),
        "--steps",
        "1",
    ]
    ended = run.invoke(app, [*asked, "--device", "cpu", "--vae", str(tmp_path / "other"), "--json"])
    assert ended.exit_code == 0, ended.output
    assert read_settings(tmp_path / "a.png")["vae"] == "other"
    assert json.loads(ended.stdout)["settings"]["vae"] == "other"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("owner/style", "owner/style"),
        ("owner/style:0.5", "owner/style:0.5"),
        ("{here}/a.safetensors:0.8", "a.safetensors:0.8"),
    ],
)
def test_a_lora_is_called_by_its_name_and_weight_and_no_folder_of_a_home(tmp_path, given, named):
    (tmp_path / "a.safetensors").touch()
    assert lora_name(given.format(here=tmp_path)) == named


def test_a_fall_back_is_said_on_stderr_and_recorded(tmp_path, tiny_pipeline_folder, monkeypatch):
    own = loading.load

    def load(*args, **kwargs):
        pipe = own(*args, **kwargs)

        def full(_module, given):
            if given[0].shape[0] > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        pipe.unet.conv_in.register_forward_pre_hook(full)
        return pipe

    monkeypatch.setattr(loading, "load", load)
    asked = [
        "generate",
        "fox",
        "-o",
        str(tmp_path / "a.png"),
        "--model",
        str(tiny_pipeline_folder),
        "--steps",
        "1",
    ]
    ended = run.invoke(app, [*asked, "--device", "cpu"])
    assert ended.exit_code == 0, ended.output
    assert (
        "redilate: cpu ran out of memory at 256x256: once more with guidance one sample at a time"
        in ended.stderr
    )
    assert read_settings(tmp_path / "a.png")["sequential"] is True
