"""`redilate show`: the settings inside a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from redilate.errors import RedilateError

from .. import command_line

if TYPE_CHECKING:
    from ..recorded_settings import Recorded


def show(
    picture: Annotated[
        Path | None, Argument(metavar="PICTURE", help="A PNG, JPEG or WebP that `redilate` made.")
    ] = None,
    model: Annotated[
        bool, Option("--model", help="In place of a picture: the words that the bundled model knows.")
    ] = False,
    as_json: command_line.Json = False,
) -> None:
    """Show how PICTURE was made, or with --model what the bundled model draws."""
    with command_line.one_line_endings():
        if (picture is None) != model:
            raise RedilateError("say what to show: a PICTURE, or --model for the bundled model's words")
        if picture is None:
            known = command_line.concepts()
            lines = "\n".join(", ".join([name, *others]) for name, others in known.items())
            print(json.dumps(known) if as_json else lines)
            return
        from ..recorded_settings import Recorded

        recorded = Recorded.read(picture)
    if as_json:
        print(json.dumps(recorded.settings))
    else:
        print(described(recorded))


def described(recorded: Recorded) -> str:
    """The settings, one on each line, without control characters."""
    versions = ", ".join(f"{package} {version}" for package, version in recorded.versions.items())
    model = f"{recorded.model} ({recorded.fingerprint})" if recorded.fingerprint else recorded.model
    computed = " on ".join(word for word in (recorded.dtype, recorded.device) if word)
    plan = recorded.last_plan
    rows = {
        "prompt": recorded.prompt,
        "negative": recorded.negative,
        "size": f"{recorded.width}x{recorded.height}",
        "seed": recorded.seed,
        "steps": recorded.steps,
        "guidance": f"{recorded.guidance:g}",
        "strength": recorded.strength,
        "scheduler": recorded.scheduler,
        "preset": None if recorded.preset == "default" else recorded.preset,
        "method": recorded.method if recorded.mode is None else f"{recorded.method}, {recorded.mode}",
        "hires": recorded.hires.as_json() or None,
        "model": model,
        "2nd model": recorded.hires_model,
        "controlnet": recorded.controlnet,
        "computed": computed or None,
        "versions": versions,
        "legs": "\n".join(_leg(leg) for leg in recorded.settings.get("legs", ())) or None,
        "plan": recorded.plan if recorded.plan is not None or plan == "none" else plan,
    }
    return "\n".join(f"{name:<10}{_safe(str(value))}" for name, value in rows.items() if value is not None)


def _leg(leg: dict[str, Any]) -> str:
    """One recorded leg."""
    dilated = leg.get("dilated")
    network = f"{dilated} convolutions re-dilated until {leg.get('until')}" if dilated else "as trained"
    return (
        f"{leg.get('width')}x{leg.get('height')}, {leg.get('steps')} steps from {leg.get('from')}, {network}"
    )


def _safe(text: str) -> str:
    """Control characters escaped; further lines indented."""
    spelt = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
    return spelt.replace("\n", "\n" + " " * 10)
