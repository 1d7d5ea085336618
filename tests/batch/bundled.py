"""The bundled model as worker processes load it."""

from __future__ import annotations

from typing import Any

from redilate.apps.command_line import load_pipeline


def load_bundled(device: str | None) -> Any:
    return load_pipeline(None, device=device, quiet=True)
