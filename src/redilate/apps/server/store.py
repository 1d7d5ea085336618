"""Pictures stored for a while in memory, for answers with URLs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from cachetools import TTLCache


class Kept(NamedTuple):
    """A file and its media type."""

    data: bytes
    media: str


class Store(TTLCache[str, Kept]):
    """The newest pictures, up to `capacity` bytes and an age of `seconds`; for the event loop only."""

    def __init__(self, capacity: float, seconds: float, clock: Callable[[], float] = time.monotonic):
        # A larger picture is stored alone: TTLCache would refuse it.
        super().__init__(capacity, seconds, clock, getsizeof=lambda kept: min(len(kept.data), capacity))

    def put(self, data: bytes, media: str) -> str:
        """Store a picture under a name that cannot be guessed, of 192 random bits; → the name."""
        name = secrets.token_urlsafe(24)
        self[name] = Kept(data, media)
        return name
