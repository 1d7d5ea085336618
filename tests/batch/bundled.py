"""The bundled model as worker processes load it."""

from __future__ import annotations

from typing import Any

from redilate.apps.command_line import PipelineOptions


def load_bundled(device: str | None) -> Any:
    return PipelineOptions().load(None, device, quiet=True)
