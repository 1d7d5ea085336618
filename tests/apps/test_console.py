"""Bad endings are one line and an exit code."""

from __future__ import annotations

import errno

import pytest
import torch
import typer

from redilate import RedilateError
from redilate.apps.console import one_line_endings


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RedilateError("no such\nthing"), 2, "no such thing"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left"),
        (torch.OutOfMemoryError("tried to allocate 9 GiB"), 1, "9 GiB"),
        (MemoryError(), 1, "out of memory"),
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
