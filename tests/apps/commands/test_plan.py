"""`redilate plan` says what `generate` then does."""

from __future__ import annotations

import json

from typer.testing import CliRunner

import redilate
from redilate.apps.main import app
from redilate.plans.plan import Plan

run = CliRunner()


def shown(folder, *arguments):
    ended = run.invoke(app, ["plan", "--model", str(folder), "--device", "cpu", *arguments])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_the_legs_are_those_that_generate_draws(tiny_pipeline_folder):
    told = json.loads(shown(tiny_pipeline_folder, "--size", "640x640", "--steps", "4", "--json"))
    pipe = redilate.load(tiny_pipeline_folder, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    made = redilate.generate(pipe, "apple", width=640, height=640, steps=4)
    assert told["legs"] == json.loads(json.dumps(made.settings["legs"]))
    assert told["legs"][-1]["dilated"] > 0
    assert {"width", "height", "steps", "from", "until", "guidance", "dilated"} <= told["legs"][0].keys()


def test_the_last_legs_plan_is_shown_and_written(tiny_pipeline_folder, tmp_path):
    text = shown(tiny_pipeline_folder, "--size", "640x256", "-o", str(tmp_path / "plan.json"))
    pipe = redilate.load(tiny_pipeline_folder, device="cpu")
    plan = redilate.plan_for(pipe, width=640, height=256)
    assert Plan.read(tmp_path / "plan.json") == plan
    assert str(plan) in text and "convolutions re-dilated until 0.3" in text


def test_a_strength_below_the_plans_end_is_said(tiny_pipeline_folder):
    text = shown(tiny_pipeline_folder, "--size", "512x512", "--strength", "0.2")
    assert "512x512: 6 steps from noise level 0.2, guidance 5, the network as trained" in text
    assert "starts at noise level 0.2, below 0.3 where re-dilation ends" in text


def test_a_device_that_is_not_there_is_refused(tiny_pipeline_folder):
    ended = run.invoke(
        app, ["plan", "--model", str(tiny_pipeline_folder), "--size", "256x256", "--device", "abacus"]
    )
    assert ended.exit_code == 2 and "abacus" in ended.stderr
