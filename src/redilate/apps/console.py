"""How the command talks: one clear line where it ends badly, progress on stderr, and no chatter of the libraries."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from redilate.errors import RedilateError

if TYPE_CHECKING:
    from redilate.generation.drawing import Drawing

# Exit codes: as a shell has it for usage errors, for an interrupt and for a pipe that nobody reads.
FAILED, REFUSED, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

OnStep = Callable[[int, int], None]


def say_error(message: str) -> None:
    """Write one line to stderr, whatever line ends `message` has."""
    print("redilate: " + " ".join(message.split()), file=sys.stderr)


def say_warning(message: str) -> None:
    """Write one line to stderr of what is done all the same."""
    say_error(f"warning: {message}")


def say_note(line: str) -> None:
    """Write one line to stderr that somebody should know."""
    print(f"redilate: {' '.join(line.split())}", file=sys.stderr)


def say_notes(drawing: Drawing) -> None:
    """Write what somebody should know of a drawing to stderr, a line each."""
    for note in drawing.notes:
        say_note(note)


@contextmanager
def one_line_endings() -> Iterator[None]:
    """Turn what a user can cause into one line and an exit code: 2 refused, 130 interrupted, 1 failed on the way."""
    try:
        yield
    except RedilateError as error:
        say_error(str(error))
        # It was drawn, and then taken back; its name is asked so as not to import what draws for it.
        raise typer.Exit(FAILED if type(error).__name__ == "SafetyStopped" else REFUSED) from error
    except KeyboardInterrupt as error:
        say_error("interrupted")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        raise typer.Exit(BROKEN_PIPE) from error  # nobody is left to be told
    except (OSError, MemoryError) as error:
        say_error(str(error) or "out of memory")
        raise typer.Exit(FAILED) from error
    except ModuleNotFoundError as error:
        # An installation with --no-deps has the method alone.
        say_error(f"{error.name} is not installed; pip install redilate, without --no-deps, brings it")
        raise typer.Exit(REFUSED) from error
    except RuntimeError as error:
        # torch.OutOfMemoryError is a RuntimeError; its name is asked so as not to import torch for it.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        say_error(f"out of memory; a smaller size, or --dtype float16 on a GPU, needs less ({error})")
        raise typer.Exit(FAILED) from error


class Bars:
    """Calling it with (steps done, steps in all) moves the bar "drawing".

    Attributes:
        on_decode: moves the bar "decoding", which stands below while there is something to decode, with (work done, in
            all); None where nobody sees it, so that the work need not be counted.
    """

    def __init__(self, bar: Progress):
        self._bar = bar
        self._drawing = bar.add_task("drawing", total=None)
        self._decoding = bar.add_task("decoding", total=100, visible=False)
        self.on_decode: OnStep | None = None if bar.disable else self._decode

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._drawing, completed=done, total=total)

    def _decode(self, done: int, total: int) -> None:
        percent = 100 * done // total
        visible = self._bar.tasks[self._decoding].visible
        if done < total and not visible:
            self._bar.reset(self._decoding, visible=True)
        self._bar.update(self._decoding, completed=percent, visible=done < total)


@contextmanager
def progress(console: Console) -> Iterator[Bars]:
    """Bars on `console` that what is yielded moves; gone at the end.

    A stderr that is no terminal gets nothing: a log has no use for a bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Bars(bar)


def silence_libraries() -> None:
    """Keep the libraries' own bars, advice and warnings off the terminal; downloads from a hub still show theirs."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Quantising libraries say at their import, which is diffusers', what they could not load.
    for talker in ("bitsandbytes", "torchao", "torch.utils._pytree", "diffusers.quantizers"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    # One after the other: importing diffusers already makes transformers talk.
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
