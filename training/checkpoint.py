"""Checkpoints that survive a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from redilate.atomic import replacing


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
        states = {name: part.state_dict() for name, part in self._parts.items()}
        with replacing(self._path) as temporary:
            torch.save({"steps": steps} | states, temporary)
