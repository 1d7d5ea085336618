"""A study's prompts, one in each line of a text file."""

from __future__ import annotations

from pathlib import Path

from ..errors import RedilateError

# Of the bundled model's subjects.
BUNDLED = Path(__file__).with_name("prompts.txt")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, in order, without lines that start with #; RedilateError if there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RedilateError(f"cannot read the prompts in {path}: {error}") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not prompts:
        raise RedilateError(f"{path} has no prompts; one in each line is needed")
    return prompts
