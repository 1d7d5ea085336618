"""API keys from a file or the environment, compared in constant time."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from redilate.errors import RedilateError

VARIABLE = "REDILATE_API_KEYS"
_SHORTEST = 8


class Keys:
    """The server's keys; without any, everybody may use it.

    Only hashes are kept, all of one length, so that comparisons take constant time.
    """

    def __init__(self, keys: Iterable[str] = ()):
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def open_to(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` header is `Bearer` and one of the keys."""
        if not self:
            return True
        scheme, _, key = (authorization or b"").partition(b" ")
        given = sha256(key.strip()).digest()
        # All are compared, so that the time does not tell which one matched.
        matches = [hmac.compare_digest(given, one) for one in self._hashes]
        return scheme.lower() == b"bearer" and any(matches)


def read_keys(file: Path | None) -> Keys:
    """The keys in `file`, one a line (`#` starts a comment), and in REDILATE_API_KEYS, separated by commas.

    Raises:
        RedilateError: an unreadable file or one without keys, a key of under 8 characters.
    """
    found = [key.strip() for key in os.environ.get(VARIABLE, "").split(",")]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RedilateError(f"cannot read the keys in {str(file)!r}: {error}") from error
        in_file = [line.partition("#")[0].strip() for line in lines]
        if not any(in_file):
            raise RedilateError(f"there is no key in {str(file)!r}; it has one on each line")
        found += in_file
    keys = [key for key in found if key]
    if short := [key for key in keys if len(key) < _SHORTEST]:
        raise RedilateError(
            f"a key of {len(short[0])} characters is too easily guessed; {_SHORTEST} is the least, 32 better"
        )
    return Keys(keys)
