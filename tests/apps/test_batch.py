"""`redilate batch` as a user runs it, also when it is interrupted or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from redilate.apps.main import main
from redilate.apps.recorded_settings import read_settings
from redilate.pipelines.loading import BUNDLED

# The bundled model, at its own size, in one step: seconds for each picture where nothing else runs.
USUAL = ["--size", "256x256", "--steps", "1", "--guidance", "3", "--method", "direct"]


@dataclass
class Outcome:
    """What a command line ended with."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("# fruit\na red apple\na green pear\na red apple\n")
    return path


@pytest.fixture
def batch(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `redilate batch` in this process."""

    def batch(prompts: Path, *arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ending:
            main(["batch", str(prompts), *USUAL, "--out", str(tmp_path / "out"), *map(str, arguments)])
        out, err = capfd.readouterr()
        return Outcome(int(ending.value.code or 0), out, err)

    return batch


def test_a_batch_is_drawn_once_and_a_rerun_says_that_all_is_there(batch: Run, prompts: Path, tmp_path: Path):
    first = batch(prompts, "--workers", "0", "--parquet", "--json")
    counts = json.loads(first.out)
    assert first.code == 0
    assert {name: counts[name] for name in ("rows", "repeated", "missing", "drawn", "failed")} == {
        "rows": 3, "repeated": 1, "missing": 2, "drawn": 2, "failed": 0
    }  # fmt: skip
    lines = [json.loads(line) for line in Path(counts["manifest"]).read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["a red apple", "a green pear"]
    settings = read_settings(tmp_path / "out" / lines[0]["file"])
    assert (settings["model"], settings["method"], settings["seed"]) == (
        "bundled",
        "direct",
        lines[0]["seed"],
    )
    assert (tmp_path / "out" / "manifest.parquet").is_file()
    second = batch(prompts)  # with as many workers as cores: none is started
    assert second.code == 0
    assert second.out == f"{tmp_path / 'out' / 'manifest.jsonl'}\n"
    assert "2 present, 0 missing, 0 drawn" in second.err


def test_a_picture_records_the_autoencoder_that_the_batch_was_given(
    batch: Run, prompts: Path, tmp_path: Path
):
    prompts.write_text("a red apple\n")
    ended = batch(prompts, "--workers", "0", "--vae", BUNDLED / "vae")
    assert ended.code == 0, ended.err
    (picture,) = (tmp_path / "out").glob("*.png")
    assert read_settings(picture)["vae"] == "vae"


def test_other_settings_in_the_same_folder_are_refused(batch: Run, prompts: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "batch.json").write_text('{"model": "bundled", "steps": 2}')
    ended = batch(prompts, "--dry-run")
    assert ended.code == 2
    assert "steps 2 and not 1" in ended.err and "another folder" in ended.err


def test_a_dry_run_counts_and_lists_and_leaves_nothing(batch: Run, tmp_path: Path):
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("id,prompt,width,height\n1,apple,,\n2,pear,250,256\n3,,,\n")
    ended = batch(prompts, "--dry-run")
    assert ended.code == 1
    assert "row 3: width '250': Input should be a multiple of 8" in ended.err
    assert "row 4: it has no prompt" in ended.err
    assert "3 rows, 0 repeated, 0 present, 1 missing, 0 drawn, 2 failed" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('prompt,seed\na red apple,2\n"blue car,3\ngreen tree,4\n', "line 3 is not CSV"),
        ("prompt,colour\na red apple,red\n", "column 'colour' means nothing here"),
    ],
)
def test_a_table_that_is_not_understood_is_refused_before_any_drawing(
    batch: Run, tmp_path: Path, text: str, cause: str
):
    (tmp_path / "prompts.csv").write_text(text)
    ended = batch(tmp_path / "prompts.csv")
    assert ended.code == 2 and cause in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--size", "250x256"], "250"),
        (["--method", "magic"], "unknown method 'magic'"),
        (["--model", "nowhere"], "no model at nowhere"),
        (["--scheduler", "magic"], "magic"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--out", "no/such/folder"], "no folder"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    batch: Run, prompts: Path, tmp_path: Path, arguments: list[str], cause: str
):
    ended = batch(prompts, *arguments)
    assert ended.code == 2
    assert cause in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_file_of_prompts_is_refused(batch: Run, tmp_path: Path):
    assert batch(tmp_path / "none.txt").code == 2
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing yet\n")
    assert "has no prompts" in batch(empty).err


# So many that on a busy machine, too, the run is ended before it ends by itself.
_MANY = 30


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_ended_at_any_moment_it_leaves_no_process_and_the_same_command_goes_on(
    batch: Run, tmp_path: Path, ending: signal.Signals, code: int
):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"a red apple number {number}\n" for number in range(_MANY)))
    command = [sys.executable, "-m", "redilate", "batch", str(prompts), *USUAL, "--workers", "1"]
    manifest = tmp_path / "out" / "manifest.jsonl"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        started = subprocess.Popen(
            [*command, "--out", str(tmp_path / "out")],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    while started.poll() is None and not (manifest.exists() and manifest.stat().st_size):
        time.sleep(0.02)
    if ending is signal.SIGINT:
        os.killpg(started.pid, ending)  # as a terminal sends it: to the worker too
    else:
        started.kill()  # the worker is left to find out by itself
    _, err = started.communicate(timeout=120)
    assert started.returncode == code
    if ending is signal.SIGINT:
        assert err.strip() == "redilate: interrupted"
    while _is_alive(started.pid):
        time.sleep(0.05)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert 1 <= len(made) < _MANY
    ended = batch(prompts, "--workers", "0")
    assert ended.code == 0 and f"{_MANY - len(made)} drawn" in ended.err
    assert {path: path.stat().st_mtime_ns for path in made} == made
    rows = [json.loads(line)["row"] for line in manifest.read_text().splitlines()]
    assert sorted(rows) == list(range(1, _MANY + 1))


def _is_alive(group: int) -> bool:
    """Whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
