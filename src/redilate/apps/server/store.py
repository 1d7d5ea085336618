"""Pictures for answers with URLs, kept in memory for a while under names that cannot be guessed."""

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


class Store:
    """The newest pictures, up to a number of bytes and an age; only for the event loop's thread.

    Args:
        capacity: bytes of all pictures together; a larger picture is kept alone.
        seconds: how long each is kept.
        clock: monotonic seconds.
    """

    def __init__(self, capacity: float, seconds: float, clock: Callable[[], float] = time.monotonic):
        # TTLCache refuses a value larger than its capacity.
        self._kept: TTLCache[str, Kept] = TTLCache(
            capacity, seconds, timer=clock, getsizeof=lambda kept: min(len(kept.data), capacity)
        )

    def put(self, data: bytes, media: str) -> str:
        """Keep a picture; → its name, 192 random bits."""
        name = secrets.token_urlsafe(24)
        self._kept[name] = Kept(data, media)
        return name

    def get(self, name: str) -> Kept | None:
        """The picture of that name; None if there is none."""
        return self._kept.get(name)

    def __len__(self) -> int:
        return len(self._kept)
