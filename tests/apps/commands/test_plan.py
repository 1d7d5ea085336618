"""`redilate plan` says what `generate` then does, and what it needs."""

import pytest
import torch
from typer.testing import CliRunner

import redilate
from redilate.apps.cli import app
from redilate.pipelines import memory
from redilate.plans.plan import Plan

run = CliRunner()


def shown(folder, *arguments):
    ended = run.invoke(app, ["plan", "--model", str(folder), "--device", "cpu", *arguments])
    assert ended.exit_code == 0, ended.output
    return ended.stdout.splitlines()


def test_a_relay_is_shown_with_the_stages_that_generate_takes(tiny_pipeline_folder):
    lines = shown(tiny_pipeline_folder, "--size", "640x640")
    pipe = redilate.load(tiny_pipeline_folder, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    made = redilate.generate(pipe, "apple", width=640, height=640, steps=25)
    assert made.settings["mode"] == "relay" and lines[0] == "as a relay: 256x256, 25 steps"
    stages = made.settings["relay"]["sizes"]
    for line, stage in zip(lines[1:], stages, strict=False):
        assert line.startswith(
            f"  then {stage['width']}x{stage['height']}, {stage['steps']} steps from noise"
        )
        assert line.endswith(", no guidance") and stage["guidance"] == 1
    assert lines[1 + len(stages)].startswith("the last stage's plan (it starts below")
    assert "\n".join(lines).count(str(made.plan)) == 1
    needed = memory.memory_for(pipe, 640, 640, plan=made.plan, noise=0.3, guided=False)
    assert lines[-1] == str(needed) and "sequential" not in lines[-1]


def test_one_stage_needs_what_its_plan_needs_with_guidance(tiny_pipeline_folder):
    lines = shown(tiny_pipeline_folder, "--size", "640x256")
    plain = shown(tiny_pipeline_folder, "--size", "640x256", "--json")
    plan = Plan.model_validate_json(plain[0])
    pipe = redilate.load(tiny_pipeline_folder, device="cpu")
    assert lines[0] == "in one stage: 640x256, 25 steps" and len(plain) == 1
    assert (
        lines[-1]
        == str(memory.memory_for(pipe, 640, 256, plan=plan))
        != str(memory.memory_for(pipe, 640, 256))
    )


def test_what_generate_refuses_and_what_it_does_sequentially_is_said(tiny_pipeline_folder, monkeypatch):
    monkeypatch.setattr(memory, "decode_bytes", lambda *_: None)  # a tiny pipeline's decode takes more
    monkeypatch.setattr(memory, "strips_bytes", lambda *_: None)
    pipe = redilate.load(tiny_pipeline_folder, device="cpu")
    plan = redilate.plan_for(pipe, width=640, height=256)
    needed = memory.memory_for(pipe, 640, 256, plan=plan)
    assert needed.unet is not None and needed.unet_sequential is not None
    monkeypatch.setattr(memory, "device_bytes", lambda _device: (needed.unet - 1, needed.unet))
    lines = shown(tiny_pipeline_folder, "--size", "640x256")
    assert lines[-1] == "guidance would go one sample at a time: the device holds it only so"
    monkeypatch.setattr(memory, "device_bytes", lambda _device: (needed.unet_sequential - 1, needed.unet))
    lines = shown(tiny_pipeline_folder, "--size", "640x256")
    assert lines[-1].startswith("it would be refused: 640x256 needs about ")


def test_offload_by_the_command_is_said(tiny_pipeline_folder, monkeypatch):
    def refuse(*_, **__):
        raise memory.TooLarge("too large", offload=True)

    monkeypatch.setattr("redilate.generation.fitting.fit", refuse)  # a CPU never says so
    assert "host's memory" in shown(tiny_pipeline_folder, "--size", "256x256")[-1]


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_the_type_asked_for_is_what_is_counted(tiny_pipeline_folder, kind):
    pipe = redilate.load(tiny_pipeline_folder, device="cpu", dtype=getattr(torch, kind))
    lines = shown(tiny_pipeline_folder, "--size", "256x256", "--dtype", kind)
    assert lines[-1] == str(memory.memory_for(pipe, 256, 256))


def test_a_device_that_is_not_there_is_refused(tiny_pipeline_folder):
    ended = run.invoke(
        app, ["plan", "--model", str(tiny_pipeline_folder), "--size", "256x256", "--device", "abacus"]
    )
    assert ended.exit_code == 2 and "abacus" in ended.stderr
