"""`redilate show`: what a picture says of how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import one_line_endings
from ..options import Json

if TYPE_CHECKING:
    from ..recorded import Recorded


def show(
    picture: Annotated[
        Path, typer.Argument(metavar="PICTURE", help="A PNG, JPEG or WebP that `redilate` made.")
    ],
    as_json: Json = False,
) -> None:
    """Show how PICTURE was made."""
    with one_line_endings():
        from ..recorded import Recorded

        recorded = Recorded.read(picture)
    if as_json:
        print(json.dumps(recorded.settings))
    else:
        print(described(recorded))


def described(recorded: Recorded) -> str:
    """The settings for a reader, one for each line, without what a terminal would take for a command."""
    versions = ", ".join(f"{package} {version}" for package, version in recorded.versions.items())
    model = f"{recorded.model} ({recorded.fingerprint})" if recorded.fingerprint else recorded.model
    computed = " on ".join(word for word in (recorded.dtype, recorded.device) if word)
    rows = {
        "prompt": recorded.prompt,
        "negative": recorded.negative,
        "size": f"{recorded.width}x{recorded.height}",
        "seed": recorded.seed,
        "steps": recorded.steps,
        "guidance": f"{recorded.guidance:g}",
        "strength": recorded.strength,
        "scheduler": recorded.scheduler,
        "method": recorded.method if recorded.mode == "single" else f"{recorded.method}, {recorded.mode}",
        "model": model,
        "computed": computed or None,
        "versions": versions,
        "plan": recorded.plan,
    }
    return "\n".join(f"{name:<10}{_safe(str(value))}" for name, value in rows.items() if value is not None)


def _safe(text: str) -> str:
    """Control characters spelt out; the lines after the first stand below it."""
    spelt = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
    return spelt.replace("\n", "\n" + " " * 10)
