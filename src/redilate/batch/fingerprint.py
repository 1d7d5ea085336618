"""A fingerprint of a model's files, without loading them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..pipelines.loading import BUNDLED

# Pages read of each file, evenly spread: training changes every weight.
_PLACES, _PAGE = 16, 4096


def model_fingerprint(name_or_path: str | None) -> str | None:
    """Sixteen hexadecimal digits that change with a model's weights or configuration; None for a hub name."""
    source = BUNDLED if name_or_path is None else Path(name_or_path)
    if not source.exists():
        return None
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        if path.suffix not in (".safetensors", ".json", ".txt", ".model"):
            continue  # a card or a preview
        size = path.stat().st_size
        digest.update(f"{path.relative_to(source)} {size}\n".encode())
        with path.open("rb") as file:
            for place in range(_PLACES):
                file.seek(max(0, size - _PAGE) * place // (_PLACES - 1))
                digest.update(file.read(_PAGE))
    return digest.hexdigest()
