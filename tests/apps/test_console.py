"""Bad endings are one line and an exit code."""

from __future__ import annotations

import errno
from io import StringIO

import pytest
import torch
import typer
from rich.console import Console

from redilate import RedilateError, SafetyStopped
from redilate.apps.command_line import one_line_endings, progress


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RedilateError("no such\nthing"), 2, "no such thing"),
        (SafetyStopped(), 1, "safety checker"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left"),
        (torch.OutOfMemoryError("tried to allocate 9 GiB"), 1, "9 GiB"),
        (MemoryError(), 1, "out of memory"),
        (ModuleNotFoundError(name="diffusers"), 2, "diffusers is not installed; pip install redilate"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_user_can_cause_ends_in_one_line_and_its_exit_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(typer.Exit) as ending, one_line_endings():
        raise error
    assert ending.value.exit_code == code
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shapes"), one_line_endings():
        raise RuntimeError("shapes do not match")


def test_a_decode_has_a_bar_of_its_own_for_as_long_as_it_takes():
    seen = StringIO()
    with progress(Console(file=seen, force_terminal=True, width=100)) as bars:
        assert bars.on_decode is not None
        bars(3, 4)
        for done in (10, 55):
            bars.on_decode(done, 110)
        (decoding,) = (task for task in bars._bar.tasks if task.description == "decoding")
        assert decoding.visible and decoding.completed == 50
        bars._bar.refresh()
        bars.on_decode(110, 110)
        assert not decoding.visible
        bars.on_decode(11, 110)  # the next picture's
        assert decoding.visible and decoding.completed == 10
    assert "decoding" in seen.getvalue() and "50/100" in seen.getvalue()


def test_where_nobody_sees_a_bar_nothing_is_counted_for_it():
    seen = StringIO()
    with progress(Console(file=seen)) as bars:
        bars(1, 2)
        assert bars.on_decode is None
    assert seen.getvalue() == ""
