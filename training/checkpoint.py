"""Checkpoints that survive a kill: written beside the old one, then renamed over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """The state of named modules and optimizers in one file, with the number of steps done."""

    def __init__(self, path: Path, **parts: Any):
        self._path = path
        self._parts = parts

    def restore(self) -> int:
        """Load the file if it is there; returns the steps done, 0 for a fresh start."""
        if not self._path.exists():
            return 0
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return state["steps"]

    def save(self, steps: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        half_written = self._path.with_suffix(".tmp")
        torch.save(
            {"steps": steps} | {name: part.state_dict() for name, part in self._parts.items()}, half_written
        )
        os.replace(half_written, self._path)
