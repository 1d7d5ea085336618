"""What was measured of a picture, kept beside it: measuring costs nearly as much as drawing, and is done once too."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..atomic import replacing
from .measures import VERSION, Seen


def cached(path: Path, pictures: Sequence[Path], measured: Callable[[], Seen]) -> Seen:
    """What `path` (.npz) holds, if it was measured by this version of these very files; else measured and kept."""
    stamp = _stamp(pictures)
    found = _read(path, stamp)
    if found is None:
        found = measured()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                stamp=stamp,
                values=json.dumps(dict(found.values)),
                whole=found.whole,
                pieces=found.pieces,
            )
    return found


def _read(path: Path, stamp: str) -> Seen | None:
    try:
        with np.load(path) as archive:
            if archive["stamp"] != stamp:
                return None
            return Seen(json.loads(str(archive["values"])), archive["whole"], archive["pieces"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None  # not there, or not whole: measured again


def _stamp(pictures: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in pictures:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
