"""The command as a user runs it: `main` in this process where that proves the same, else a process of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from PIL import Image, ImageChops

from redilate import Plan, __version__
from redilate.apps.main import app, main
from redilate.apps.recorded_settings import read_settings
from redilate.rivals.registry import METHODS

COMMAND = [sys.executable, "-m", "redilate"]


@dataclass
class Outcome:
    """What a command line ended with."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(int(ending.value.code or 0), out, err)

    return run


@pytest.fixture
def generate(run: Run, tiny_pipeline_folder: Path, tmp_path: Path) -> Run:
    """Runs `generate` with the tiny model, two steps and a size of twice the native width unless told otherwise."""

    def generate(*arguments: object, output: Path = tmp_path / "apple.png", model: object = None) -> Outcome:
        usual = ["--size", "512x256", "--steps", "2", "--model", model or tiny_pipeline_folder, "-o", output]
        return run("generate", "a red apple", *usual, *arguments)

    return generate


def same_pixels(first: Path, second: Path) -> bool:
    with Image.open(first) as a, Image.open(second) as b:
        return a.size == b.size and ImageChops.difference(a, b).getbbox() is None


def test_version_is_told_without_importing_torch_or_diffusers():
    script = (
        "import sys; from redilate.apps.main import main\n"
        "try: main(['--version'])\n"
        "finally: print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [f"redilate {__version__}", "[]"]


def test_python_dash_m_is_the_same_command():
    ended = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"redilate {__version__}\n")


def test_a_reader_that_has_left_ends_it_without_a_word(tiny_pipeline_folder: Path):
    """As in `redilate plan … | head`."""
    arguments = ["plan", "--size", "512x512", "--model", str(tiny_pipeline_folder)]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert (child.stderr.read(), child.wait(timeout=120)) == (b"", 141)


def test_generate_writes_a_picture_of_the_asked_size_and_prints_its_path(generate: Run, tmp_path: Path):
    ended = generate()
    assert ended.code == 0
    assert ended.out == f"{tmp_path / 'apple.png'}\n"
    assert ended.err.startswith("512x256, 2 steps, ")
    assert ended.err.count("\n") == 1
    with Image.open(tmp_path / "apple.png") as image:
        assert (image.size, image.format) == ((512, 256), "PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["apple.png"]


def test_json_mode_prints_one_object_and_nothing_else(tiny_pipeline_folder: Path, tmp_path: Path):
    arguments = ["--size", "256x256", "--steps", "1", "--seed", "7", "--count", "2", "--json"]
    output = tmp_path / "apple.png"
    ended = subprocess.run(
        [*COMMAND, "generate", "an apple", *arguments, "--model", tiny_pipeline_folder, "-o", output],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert told["images"] == [
        {"path": str(tmp_path / "apple-1.png"), "seed": 7},
        {"path": str(tmp_path / "apple-2.png"), "seed": 8},
    ]
    assert told["seconds"] > 0
    assert told["settings"]["prompt"] == "an apple"


def test_the_second_picture_of_a_count_is_the_one_its_own_seed_gives(generate: Run, tmp_path: Path):
    generate("--seed", 7, "--count", 2)
    generate("--seed", 8, output=tmp_path / "alone.png")
    assert read_settings(tmp_path / "apple-2.png")["seed"] == 8
    assert same_pixels(tmp_path / "apple-2.png", tmp_path / "alone.png")
    assert not same_pixels(tmp_path / "apple-1.png", tmp_path / "alone.png")


def test_another_method_draws_and_the_png_tells_its_name_and_parameters(generate: Run, tmp_path: Path):
    assert generate("--method", "upscale_lanczos").code == 0
    settings = read_settings(tmp_path / "apple.png")
    assert (settings["method"], settings["parameters"]) == ("upscale_lanczos", {"drawn": "384x192"})
    assert (settings["width"], settings["height"]) == (512, 256)


def test_help_lists_every_method_without_importing_torch():
    script = (
        "import sys; from redilate.apps.main import main\n"
        "try: main(['generate', '--help'])\n"
        "finally: print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    environment = os.environ | {"COLUMNS": "200", "TERM": "dumb"}
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert all(name in ended.stdout for name in METHODS)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [None, *typer.main.get_group(app).commands])
def test_help_shows_every_sentence_as_it_was_written(command: str | None, run: Run, monkeypatch):
    # Rich takes what stands in brackets for its own marks, and swallows it.
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("TERM", "dumb")
    group = typer.main.get_group(app)
    shown = run(*([command] if command else []), "--help").out
    written = [one.help for one in (group.commands[command].params if command else group.params)]
    written += (
        [one.help for one in group.commands.values()] if command is None else [group.commands[command].help]
    )
    sentences = [" ".join(text.split("\n\n")[0].split()) for text in written if isinstance(text, str)]
    assert sentences
    assert [sentence for sentence in sentences if sentence not in shown] == []


def test_the_methods_differ_at_twice_the_native_width_and_the_png_tells_which(generate: Run, tmp_path: Path):
    generate("--method", "direct", output=tmp_path / "direct.png")
    generate("--method", "redilate", output=tmp_path / "redilate.png")
    assert not same_pixels(tmp_path / "direct.png", tmp_path / "redilate.png")
    for method in ("direct", "redilate"):
        settings = read_settings(tmp_path / f"{method}.png")
        assert (settings["method"], settings["model"]) == (method, "tiny-sdxl")


def test_without_a_size_the_picture_has_the_native_one(run: Run, tiny_pipeline_folder: Path, tmp_path: Path):
    ended = run("generate", "x", "--steps", 1, "--model", tiny_pipeline_folder, "-o", tmp_path / "a.webp")
    assert ended.code == 0
    with Image.open(tmp_path / "a.webp") as image:
        assert (image.size, image.format) == ((256, 256), "WEBP")


def test_a_plan_written_by_plan_is_followed_by_generate(
    generate: Run, run: Run, tiny_pipeline_folder: Path, tmp_path: Path
):
    file = tmp_path / "plan.json"
    shown = run("plan", "--size", "512x256", "--model", tiny_pipeline_folder, "-o", file)
    assert (shown.code, shown.err) == (0, "")
    assert f"the last leg's plan:\n{Plan.read(file)}\nmemory on cpu, about" in shown.out
    assert generate("--plan", file).code == 0
    assert read_settings(tmp_path / "apple.png")["legs"][-1]["plan"] == Plan.read(file).model_dump(
        mode="json"
    )


def test_windows_are_planned_drawn_and_drawn_again(
    generate: Run, run: Run, tiny_pipeline_folder: Path, tmp_path: Path
):
    file, windowed = tmp_path / "plan.json", ("--windows", "0.9")
    shown = run("plan", "--size", "512x256", "--windows", "0.9", "--model", tiny_pipeline_folder, "-o", file)
    assert shown.code == 0 and "windows below noise level 0.9" in shown.out
    assert generate(*windowed).code == 0
    plan = read_settings(tmp_path / "apple.png")["legs"][-1]["plan"]
    assert plan == Plan.read(file).model_dump(mode="json") and plan["windows"]["below"] == 0.9
    again = tmp_path / "again.png"
    assert (
        run("generate", "--from", tmp_path / "apple.png", "--model", tiny_pipeline_folder, "-o", again).code
        == 0
    )
    assert same_pixels(tmp_path / "apple.png", again)
    assert_refused(generate("--method", "direct", "--windows", "0.9"), "windows", "direct")
    assert_refused(generate("--windows", "2"), "--windows")


def test_plan_as_json_has_every_leg_with_its_plan(run: Run, tiny_pipeline_folder: Path):
    ended = run(
        "plan", "--size", "512x512", "--preset", "published", "--model", tiny_pipeline_folder, "--json"
    )
    assert (ended.code, ended.err) == (0, "")
    (leg,) = json.loads(ended.out)["legs"]
    assert leg["plan"]["dilation"]["mid_block.resnets.0.conv1"] == [2, 2] and leg["dilated"] > 0


def test_a_scheduler_asked_for_is_used_and_told(generate: Run, tmp_path: Path):
    assert generate("--scheduler", "ddim").code == 0
    assert read_settings(tmp_path / "apple.png")["scheduler"] == "DDIMScheduler"


def assert_refused(ended: Outcome, *words: str) -> None:
    """Exit code 2, one line on stderr with each of `words`, nothing on stdout."""
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("redilate: ")
    assert ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err


# The model is missing in each of these, and is not what is complained of: they are refused before it is looked for.
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "1023x512"], ("width 1023", "multiple of 8", "1024 works")),
        (["--size", "512x0"], ("height 0",)),
        (["--size", "wide"], ("'wide'", "WxH")),
        (["--size", "-8x512"], ("'-8x512'", "WxH")),
        (["--steps", "0"], ("--steps",)),
        (["--count", "none"], ("--count",)),
        (["--method", "magic"], ("magic", "redilate", "direct")),
        (["--dtype", "float8"], ("float8", "float16")),
        (["--no-such-option"], ("--no-such-option",)),
        (["-o", "apple.xyz"], ("'.xyz'", ".png")),
        (["-o", "apple"], ("''", ".png")),
        (["-o", "no-such-folder/apple.png"], ("no-such-folder", "no folder")),
        (["-o", "a" * 300 + ".png"], ("too long",)),
        (["--plan", "no-such-plan.json"], ("no-such-plan.json",)),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_one_line_before_the_model_is_looked_for(
    generate: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: tuple[str, ...],
):
    monkeypatch.chdir(tmp_path)
    assert_refused(generate(*arguments, model="no/such/model"), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_outputs_place_is_refused(generate: Run, tmp_path: Path):
    (tmp_path / "apple.png").mkdir()
    assert_refused(generate(), "is a folder")


def test_a_missing_prompt_is_refused_in_one_line(run: Run):
    assert_refused(run("generate", "-o", "apple.png"), "PROMPT", "--from")


@pytest.mark.parametrize("model", ["no/such/model", "./nowhere"])
def test_a_missing_model_is_refused_by_name(generate: Run, model: str):
    assert_refused(generate(model=model), model)


def test_a_transformer_pipeline_is_refused_with_what_is_supported(generate: Run, tmp_path: Path):
    flux = tmp_path / "flux"
    flux.mkdir()
    parts = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    (flux / "model_index.json").write_text(json.dumps(parts))
    assert_refused(generate(model=flux), "FluxPipeline", "SDXL")


def test_an_unknown_scheduler_is_refused_with_those_that_work(generate: Run):
    assert_refused(generate("--scheduler", "quick"), "'quick'", "euler", "ddim")


def test_an_unknown_device_is_refused_with_those_that_work(generate: Run):
    assert_refused(generate("--device", "quantum"), "'quantum'", "cpu")


def test_a_plan_that_is_no_plan_is_refused_with_its_path(generate: Run, tmp_path: Path):
    (tmp_path / "plan.json").write_text('{"until": 7}')
    assert_refused(generate("--plan", tmp_path / "plan.json"), "plan.json", "until")


def test_a_plan_that_matches_no_layer_is_refused_by_name(generate: Run, tmp_path: Path):
    Plan(dilation={"no.such.conv": (2, 2)}).write(tmp_path / "plan.json")
    assert_refused(generate("--plan", tmp_path / "plan.json"), "no.such.conv")
    assert not (tmp_path / "apple.png").exists()


def test_a_plan_with_the_direct_method_is_refused(generate: Run, tmp_path: Path):
    Plan().write(tmp_path / "plan.json")
    assert_refused(generate("--method", "direct", "--plan", tmp_path / "plan.json"), "plan", "direct")


def test_a_refused_command_leaves_the_earlier_picture_as_it_was(generate: Run, tmp_path: Path):
    (tmp_path / "apple.png").write_bytes(b"an earlier picture")
    assert generate("--scheduler", "quick").code == 2
    assert (tmp_path / "apple.png").read_bytes() == b"an earlier picture"


def test_control_c_ends_with_one_line_and_130_and_a_terminal_sees_the_bar(
    tiny_pipeline_folder: Path, tmp_path: Path
):
    ours, theirs = pty.openpty()
    arguments = ["--steps", "900", "--model", tiny_pipeline_folder, "-o", tmp_path / "apple.png"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    child = subprocess.Popen(
        [*COMMAND, "generate", "an apple", *arguments],
        stderr=theirs,
        env=environment,
        # A shell starts its background jobs with SIGINT ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    seen = b""
    while b"/900" not in seen:
        seen += os.read(ours, 1024)
    child.send_signal(signal.SIGINT)
    try:
        while more := os.read(ours, 1024):
            seen += more
    except OSError:
        pass  # how Linux says that the other side was closed
    os.close(ours)
    assert child.wait(timeout=60) == 130
    assert b"drawing" in seen
    assert b"Traceback" not in seen
    assert seen.rstrip().endswith(b"redilate: interrupted")
    assert list(tmp_path.iterdir()) == []
