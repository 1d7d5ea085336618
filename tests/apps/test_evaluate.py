"""`redilate evaluate` as a user runs it, killed in the middle too."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redilate import Plan
from redilate.apps.main import main
from redilate.evaluation.tasks import Variation


def _run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ending:
        main(["evaluate", *map(str, arguments)])
    out, err = capfd.readouterr()
    return int(ending.value.code or 0), out, err


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("red apple\nfox\n")
    return path


def test_the_command_draws_measures_and_prints_a_line_for_each_method(
    capfd: pytest.CaptureFixture[str], tiny_pipeline_folder: Path, prompts: Path, tmp_path: Path
):
    plan, out = tmp_path / "plan.json", tmp_path / "results"
    Variation(strength=1, plan=Plan(dilation={"mid_block.resnets.0.conv1": (2.0, 2.0)})).write(plan)
    code, printed, err = _run(
        capfd,
        *("--model", tiny_pipeline_folder, "--prompts", prompts, "--out", out, "--sizes", "384x256,384x256"),
        *("--methods", "direct", "--variation", f"mid={plan}", "--count", 1, "--steps", 1),
    )
    assert (code, err) == (0, "")
    line = r"^384x256 mid: \d+% repeated, feature distance \d\.\d{3}, \d+\.\d s$"
    assert re.search(line, printed, re.MULTILINE)
    assert printed.splitlines()[-1] == str(out / "results.html")
    assert len(list(out.rglob("000-red-apple.png"))) == 3
    files = {"results.json", "results.md", "results.html"}
    files |= {f"{kind}-384x256.png" for kind in ("sheet", "plot", "curve")}
    assert {path.name for path in out.iterdir() if path.is_file()} == files
    assert json.loads((out / "results.json").read_text())["settings"]["model"] == "tiny-sdxl"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "512"], "size '512' is not of the form WxH"),
        (["--sizes", "500x512"], "the width 500 is not a multiple of 8"),
        (["--methods", "magic"], "unknown method 'magic'; known: direct, "),
        (["--variation", "plan.json"], "is not of the form NAME=FILE"),
        (["--variation", "a=nowhere.json"], "cannot read the variation nowhere.json"),
        (["--prompts", "nowhere.txt"], "cannot read the prompts in nowhere.txt"),
        (["--real", "nowhere"], "cannot read the real pictures in nowhere"),
        (["--out", __file__], "can't write to the folder"),
    ],
)
def test_a_mistake_ends_with_one_line_and_code_2(
    capfd: pytest.CaptureFixture[str], arguments: list[str], said: str, tmp_path: Path
):
    code, printed, err = _run(capfd, "--out", tmp_path / "results", *arguments)
    assert (code, printed) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_another_model_needs_prompts_of_its_own(
    capfd: pytest.CaptureFixture[str], tiny_pipeline_folder: Path, tmp_path: Path
):
    code, _, err = _run(capfd, "--out", tmp_path / "results", "--model", tiny_pipeline_folder)
    assert code == 2
    assert err.startswith(f"redilate: --prompts is needed with --model {tiny_pipeline_folder}")
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(
    capfd: pytest.CaptureFixture[str], tiny_pipeline_folder: Path, prompts: Path, tmp_path: Path
):
    out = tmp_path / "results"
    asked = ["--model", tiny_pipeline_folder, "--prompts", prompts, "--out", out, "--sizes", "384x256"]
    asked += ["--methods", "direct", "--count", "6", "--steps", "2"]
    child = subprocess.Popen([sys.executable, "-m", "redilate", "evaluate", *map(str, asked)])
    while len(drawn := list(out.rglob("*.png"))) < 4 and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    drawn = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert 4 <= len(drawn) < 12
    assert not (out / "results.json").exists()
    code, _, err = _run(capfd, *asked)
    assert (code, err) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    assert len(list(out.rglob("0*.png"))) == 12
    assert json.loads((out / "results.json").read_text())["summary"][1]["pictures"] == 6
    assert not list(out.rglob("*.tmp"))
