"""Pictures kept for a while in memory for answers with URLs, under names that cannot be guessed."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple


class Kept(NamedTuple):
    """A file, its media type, and until when it is kept."""

    data: bytes
    media: str
    until: float


class Store:
    """The newest pictures, up to a number of bytes and an age; used from the event loop alone.

    Args:
        capacity: bytes of all pictures together; a larger one is kept alone.
        seconds: how long each is kept.
        clock: seconds, never going back.
    """

    def __init__(self, capacity: float, seconds: float, clock: Callable[[], float] = time.monotonic):
        self._capacity, self._seconds, self._clock = capacity, seconds, clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def put(self, data: bytes, media: str) -> str:
        """Keep a picture; → its name, 192 random bits."""
        self._expire()
        while self._kept and self._bytes + len(data) > self._capacity:
            self._drop()
        name = secrets.token_urlsafe(24)
        self._kept[name] = Kept(data, media, self._clock() + self._seconds)
        self._bytes += len(data)
        return name

    def get(self, name: str) -> Kept | None:
        """The picture of that name; None if there is none, or no longer."""
        self._expire()
        return self._kept.get(name)

    def __len__(self) -> int:
        return len(self._kept)

    def _expire(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop()

    def _drop(self) -> None:
        _, oldest = self._kept.popitem(last=False)
        self._bytes -= len(oldest.data)
