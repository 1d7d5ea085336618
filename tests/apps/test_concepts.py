"""What the bundled model knows is told where a prompt names nothing of it."""

from __future__ import annotations

import pytest

from redilate.apps.command_line import advice, concepts
from redilate.apps.main import main


@pytest.mark.parametrize(
    "prompt", ["a red apple", "apple, red", "apple", "fox face", "A picture of a CAT", "donut"]
)
def test_known_things_need_no_advice(prompt: str):
    assert advice(prompt) is None


@pytest.mark.parametrize("prompt", ["a dragon", "", "applesauce", "heartless"])
def test_unknown_things_are_told_with_the_words_that_are_known(prompt: str):
    told = advice(prompt)
    assert told is not None and "red apple" in told and "fox" in told


def test_show_model_lists_every_thing_with_its_other_names(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ending:
        main(["show", "--model"])
    lines = capsys.readouterr().out.splitlines()
    assert not ending.value.code and len(lines) == len(concepts()) >= 48
    assert "fox, fox face" in lines


def test_show_wants_a_picture_or_the_model(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ending:
        main(["show"])
    assert ending.value.code == 2 and "PICTURE, or --model" in capsys.readouterr().err
