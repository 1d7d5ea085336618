"""A dictionary on disk, so that a million ids cost no memory."""

from __future__ import annotations

import sqlite3


class Index:
    """Text → text. A private temporary SQLite database that vanishes with the object; for one thread.

    SQLite keeps 2 MB of pages in memory and spills the rest to a temporary file.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        # Nothing here outlives the process, so nothing needs to be safe against its end.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def get(self, key: str) -> str | None:
        """The value at `key`; None where there is none."""
        found = self._database.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def put(self, key: str, value: str) -> None:
        """Keep `value` at `key`, in place of what was there."""
        self._database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Give the temporary file back; safe to call twice."""
        self._database.close()
