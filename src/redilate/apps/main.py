"""The command `redilate`; each subcommand has a file in `commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .command_line import BROKEN_PIPE, REFUSED, say
from .commands.batch import batch
from .commands.enlarge import enlarge
from .commands.evaluate import evaluate
from .commands.generate import generate
from .commands.plan import plan
from .commands.serve import serve
from .commands.show import show
from .commands.web import web

app = typer.Typer(
    name="redilate",
    help="Pictures far larger than a diffusion U-Net was trained on, with no training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (generate, enlarge, plan, batch, evaluate, serve, show, web):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from redilate import __version__

        print(f"redilate {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 1 failed, 2 refused, 130 interrupted.

    If the reader of a pipe has left (`redilate plan … | head`), it exits silently with 141, as SIGPIPE would.
    """
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        # Typer would show a usage error in a box of several lines. Without arguments there is no message, and the help
        # has been shown.
        if message := error.format_message():
            say(message)
        code = REFUSED
    except BrokenPipeError:
        # The interpreter would complain about buffered output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    sys.exit(code if isinstance(code, int) else 0)
