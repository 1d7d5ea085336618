"""How many of our modules and functions one `redilate generate` runs: what somebody reads who follows a picture.

    python -m benchmarks.path

Functions that are called, not definitions that an import runs.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import typer

SOURCE = Path(__file__).parents[1] / "src" / "redilate"


def called_by(arguments: list[str]) -> dict[str, set[str]]:
    """Module → the functions in it that the command calls with these arguments."""
    found: dict[str, set[str]] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        is_function = bool(code.co_flags & inspect.CO_OPTIMIZED)  # a class's body is called like one, too
        if event == "call" and is_function and code.co_filename.startswith(str(SOURCE)):
            found.setdefault(os.path.relpath(code.co_filename, SOURCE), set()).add(code.co_qualname)

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        from redilate.apps.main import main as command

        with contextlib.suppress(SystemExit):
            command(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return found


def main() -> None:
    """Draw a picture of the bundled model twice its native side, and list what ran."""
    with tempfile.TemporaryDirectory() as folder:
        picture = str(Path(folder) / "apple.png")
        found = called_by(["generate", "red apple", "--size", "512x512", "--output", picture])
    for module, functions in sorted(found.items()):
        print(f"{module}: {len(functions)}")
    print(f"{len(found)} modules, {sum(map(len, found.values()))} functions")


if __name__ == "__main__":
    typer.run(main)
