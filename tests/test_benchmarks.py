"""The benchmarks start as their own docstrings and the documentation say, and have the options named there."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
COMMAND = re.compile(r"python -m benchmarks\.(\w+)((?:[^`\n\\]|\\\n)*)")


@cache
def named() -> list[tuple[str, str, str]]:
    """(file, benchmark, options) of every command line in the documentation and the benchmarks' docstrings."""
    files = [*ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.py"), ROOT / "README.md"]
    return [
        (path.name, *found) for path in files for found in COMMAND.findall(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_starts_and_has_the_options_that_are_written_of_it(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ending:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    shown = capsys.readouterr().out
    assert not ending.value.code and "--help" in shown
    for file, benchmark, options in named():
        if benchmark == name:
            for option in re.findall(r"(?<!\S)--[\w-]+", options.split("#")[0]):
                assert re.search(rf"{option}(?![\w-])", shown), f"{file}: {name} has no {option}"


@pytest.mark.slow
def test_one_picture_runs_no_more_of_our_modules_than_somebody_can_read():
    command = [sys.executable, "-m", "benchmarks.path"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = re.search(r"(\d+) modules, \d+ functions", ended.stdout)
    assert found is not None and int(found[1]) <= 25, ended.stdout


def test_the_published_form_evaluates_four_samples_a_step_for_the_picture_that_three_give():
    import redilate
    from benchmarks.speed import four_evaluations, plan_of
    from tests.models import tiny_sd15

    pipe, samples = tiny_sd15(), []
    pipe.set_progress_bar_config(disable=True)
    plan = plan_of("published form", "bundled", pipe.unet, (2.5, 2.5))
    assert plan.fractional == "published" and plan.noise_damping is not None
    pipe.unet.register_forward_pre_hook(
        lambda _, args, __: samples.append((len(args[0]), int(args[1]) / 1000)), with_kwargs=True
    )

    def draw(**how):
        samples.clear()
        made = redilate.generate(pipe, "fox", width=160, height=160, steps=5, strength=1, **how).images[0]
        return made, [
            sum(n for n, level in samples if (level >= plan.until) == damped) for damped in (True, False)
        ]

    three, (damped, plain) = draw(plan=plan)
    with four_evaluations(pipe, plan):
        four, counts = draw()
    assert damped % 3 == 0 and damped and plain
    assert counts == [damped // 3 * 4, plain]
    difference = np.abs(np.asarray(three, dtype=int) - np.asarray(four, dtype=int))
    assert difference.max() <= 1
    direct, _ = draw(method="direct")
    assert np.abs(np.asarray(three, dtype=int) - np.asarray(direct, dtype=int)).max() > 1


def test_the_card_s_one_run_writes_figures_and_a_page_here_too(tmp_path, monkeypatch):
    import json

    import torch

    import redilate
    from benchmarks import gpu

    own = redilate.generate

    def generate(pipe, prompt, **asked):
        if asked.get("strength") == 1.0 and asked.get("width") == 264:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return own(pipe, prompt, **asked)

    monkeypatch.setattr(redilate, "generate", generate)
    monkeypatch.setattr(gpu, "LEVELS", ((8, 16),))
    gpu.main(layout="tiny", sizes="256,264", steps=1, device="cpu", dtype="float32", divide=2, out=tmp_path)
    found = json.loads((tmp_path / "gpu.json").read_text())
    drawn = {(row["size"], row["what"]): row for row in found["pictures"]}
    assert drawn[256, "direct"]["ratio"] == 1 and drawn[256, "default"]["ratio"] > 0
    failed = drawn[264, "full size from the first step"]
    assert failed["seconds"] is None and failed["notes"] == ["CUDA out of memory."]
    assert drawn[264, "decode, in strips"]["seconds"] > 0
    (page,) = tmp_path.glob("*.md")
    text = page.read_text()
    assert "| 264 | full size from the first step | – | – | – | CUDA out of memory. |" in text
    assert "| 8 | 8 | float32 | NHWC |" in text and "### On" in text


def test_the_variations_that_are_compared_can_be_written_and_read(tmp_path):
    from benchmarks import variations
    from redilate.evaluation.tasks import Variation

    variations.main(size="512x512", out=tmp_path)
    files = sorted(tmp_path.glob("*.json"))
    assert {"legs-0.2-plain", "whole-inner-0", "fouriscale-all-held", "hidiffusion-0.6"} <= {
        file.stem for file in files
    }
    assert all(Variation.read(file).arguments() or file.stem == "legs-inner-0" for file in files)
