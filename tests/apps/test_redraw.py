"""`redilate generate --from` on the bundled model: the same picture, or what was asked for in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import redilate
from redilate.apps.main import main
from redilate.apps.metadata import embedding
from redilate.apps.recorded_settings import read_settings
from redilate.generation.drawing import versions

FEW = ["--steps", "2", "--guidance", "3", "--size", "384x256"]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `redilate generate` in this process and a folder of its own; → its exit code and what stderr got."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ending:
            main(["generate", *map(str, arguments)])
        return int(ending.value.code or 0), capfd.readouterr().err

    return run


def pixels(path: str) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def settings_changed(path: str, to: str, **changed: object) -> None:
    """A copy of a picture that says other things of itself."""
    settings = read_settings(path) | changed
    with Image.open(path) as image:
        image.save(to, **embedding("PNG", settings))


def test_a_picture_is_made_again_bit_for_bit_without_a_word_of_warning(run: Run):
    assert run("a red apple", *FEW, "--seed", 7, "--negative", "leaf", "-o", "apple.png")[0] == 0
    code, err = run("--from", "apple.png", "-o", "again.png")
    assert (code, err.count("\n")) == (0, 1)
    assert pixels("again.png") == pixels("apple.png")
    assert read_settings("again.png") == read_settings("apple.png")


def test_one_of_several_by_a_plan_and_a_scheduler_is_made_again_bit_for_bit(run: Run):
    pipe = redilate.load()
    plan = redilate.plan_for(pipe, width=512, height=256).model_copy(update={"until": 0.2, "note": "mine"})
    plan.write("plan.json")
    asked = ["--count", 2, "--plan", "plan.json", "--scheduler", "euler", "--dtype", "bfloat16"]
    assert run("a red apple", *FEW, *asked, "-o", "apple.png")[0] == 0
    Path("plan.json").unlink()
    assert run("--from", "apple-2.png", "-o", "again.png")[0] == 0
    assert pixels("again.png") == pixels("apple-2.png") != pixels("apple-1.png")
    assert read_settings("again.png")["legs"][-1]["plan"]["note"] == "mine"


def test_sequential_guidance_is_recorded_and_made_again(run: Run):
    assert run("a red apple", *FEW, "--sequential", "-o", "apple.png")[0] == 0
    assert run("--from", "apple.png", "-o", "again.png")[0] == 0
    assert read_settings("again.png")["sequential"] is True
    assert pixels("again.png") == pixels("apple.png")


def test_a_second_pass_and_a_strength_of_its_own_are_made_again(run: Run):
    asked = ["--strength", 0.6, "--hires-prompt", "a green apple", "--hires-steps", 3, "--hires-guidance", 4]
    assert run("a red apple", *FEW, *asked, "-o", "apple.png")[0] == 0
    assert run("--from", "apple.png", "-o", "again.png")[0] == 0
    assert pixels("again.png") == pixels("apple.png")
    told = read_settings("again.png")
    assert told == read_settings("apple.png")
    assert (
        told["hires"] == {"prompt": "a green apple", "guidance": 4.0, "steps": 3} and told["strength"] == 0.6
    )


def test_a_relay_of_version_0_1_is_said_to_be_no_more(run: Run):
    run("a red apple", *FEW, "-o", "apple.png")
    settings = read_settings("apple.png")
    for name in ("legs", "strength", "preset", "family"):
        del settings[name]
    settings |= {"mode": "relay", "relay": {"stages": [{"noise": 0.1}]}, "plan": None}
    settings["versions"] = settings["versions"] | {"redilate": "0.1.0"}
    with Image.open("apple.png") as image:
        image.save("old.png", **embedding("PNG", settings))
    code, err = run("--from", "old.png", "-o", "again.png")
    assert code == 0 and "version 0.1's relay, which is no more" in err
    assert read_settings("again.png")["preset"] == "faithful"


def test_a_picture_in_a_lossy_format_is_made_again_too(run: Run):
    assert run("a red apple", *FEW, "-o", "apple.jpg")[0] == 0
    assert run("--from", "apple.jpg", "-o", "again.jpg")[0] == 0
    assert Path("again.jpg").read_bytes() == Path("apple.jpg").read_bytes()


def test_what_is_given_replaces_what_the_picture_says_and_is_named(run: Run):
    run("a red apple", *FEW, "-o", "apple.png")
    code, err = run("--from", "apple.png", "--seed", 9, "--size", "256x384", "-o", "other.png")
    assert code == 0
    assert "not apple.png again: given here, size, seed" in err
    run("a red apple", *FEW, "--seed", 9, "--size", "256x384", "-o", "plain.png")
    # The plan was one for 384x256; for another size it is made anew.
    assert pixels("other.png") == pixels("plain.png")
    assert read_settings("other.png") == read_settings("plain.png")


def test_a_webp_is_made_again(run: Run):
    assert run("a red apple", *FEW, "-o", "apple.webp")[0] == 0
    assert run("--from", "apple.webp", "-o", "again.webp")[0] == 0
    assert Path("again.webp").read_bytes() == Path("apple.webp").read_bytes()


def test_naming_the_place_of_the_same_model_replaces_nothing(run: Run, tiny_pipeline_folder: Path):
    model = ["--model", tiny_pipeline_folder]
    redilate.Plan(dilation={"mid_block.resnets.0.conv1": (3, 1)}).write("plan.json")
    run("a fox", "--size", "264x256", "--steps", 1, "--plan", "plan.json", *model, "-o", "apple.png")
    code, err = run("--from", "apple.png", "-o", "again.png")
    assert (code, "'tiny-sdxl'" in err, "--model" in err) == (2, True, True)
    code, err = run("--from", "apple.png", *model, "-o", "again.png")
    assert (code, "warning" in err) == (0, False)
    assert pixels("again.png") == pixels("apple.png")


def test_another_model_is_drawn_with_and_told(run: Run, tiny_pipeline_folder: Path):
    run("a fox", *FEW, "-o", "apple.png")
    code, err = run("--from", "apple.png", "--model", tiny_pipeline_folder, "-o", "other.png")
    assert code == 0
    assert "given here, model" in err and "made with the model 'bundled', not 'tiny-sdxl'" in err


def test_other_versions_weights_and_devices_are_told_before_drawing(run: Run):
    run("a fox", *FEW, "-o", "apple.png")
    versions = read_settings("apple.png")["versions"] | {"torch": "1.13"}
    settings_changed("apple.png", "old.png", versions=versions, fingerprint="0" * 12, device="abacus")
    code, err = run("--from", "old.png", "-o", "again.png")
    assert code == 0
    warning = err.splitlines()[0]
    assert warning.startswith("redilate: warning: old.png may not come out the same")
    for word in ("torch 1.13, not", "other weights", "on abacus, not cpu"):
        assert word in warning
    assert pixels("again.png") == pixels("apple.png")


def test_a_plan_for_layers_that_the_model_lacks_is_refused(run: Run):
    run("a fox", *FEW, "-o", "apple.png")
    legs = [{"plan": {"dilation": {"no.such.conv": [2, 2]}}}]
    settings_changed("apple.png", "odd.png", legs=legs)
    code, err = run("--from", "odd.png", "-o", "again.png")
    assert (code, err.count("\n"), "no.such.conv" in err) == (2, 1, True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method": "magic"}, "damaged: method"),
        ({"scheduler": "os"}, "unknown scheduler 'os'"),
        ({"seed": -1}, "seed"),
        ({"model": "../../etc"}, "no model at"),
        ({"model": "a\nb"}, "somebody's disk"),
        ({"strength": 0.5}, "made from another picture"),
        ({"mode": "enlarge"}, "made from another picture"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused_in_one_line(run: Run, changed: dict, words: str):
    settings = {
        "prompt": "x", "width": 256, "height": 256, "seed": 0, "steps": 1, "guidance": 1.0,
        "method": "redilate", "model": "bundled", "versions": versions(),
    }  # fmt: skip
    Image.new("RGB", (256, 256)).save("odd.png", **embedding("PNG", settings | changed))
    code, err = run("--from", "odd.png", "-o", "again.png")
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
    assert not Path("again.png").exists()


def test_without_a_prompt_and_without_a_picture_it_is_refused(run: Run):
    code, err = run("-o", "apple.png")
    assert (code, "PROMPT" in err, "--from" in err) == (2, True, True)


def test_show_tells_a_reader_everything_and_a_program_the_json(run: Run, capfd: pytest.CaptureFixture[str]):
    run("a red apple\x1b[2J", *FEW, "--seed", 7, "-o", "apple.webp")
    with pytest.raises(SystemExit) as ending:
        main(["show", "apple.webp"])
    shown = capfd.readouterr().out
    assert not ending.value.code
    for words in (
        "prompt    a red apple\\x1b[2J",
        "size      384x256",
        "seed      7",
        "bundled (",
        "DDIMScheduler",
    ):
        assert words in shown
    assert "\x1b" not in shown
    assert "re-dilated from noise level 1" in shown
    with pytest.raises(SystemExit):
        main(["show", "apple.webp", "--json"])
    assert json.loads(capfd.readouterr().out) == read_settings("apple.webp")


def test_show_refuses_a_picture_that_says_nothing_in_one_line(run: Run, capfd: pytest.CaptureFixture[str]):
    Image.new("RGB", (8, 8)).save("plain.png")
    with pytest.raises(SystemExit) as ending:
        main(["show", "plain.png"])
    err = capfd.readouterr().err
    assert (ending.value.code, err.count("\n")) == (2, 1)
    assert "carries no settings" in err
