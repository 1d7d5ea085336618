"""The words that the bundled model knows: it draws some fifty things, and anything else comes out as something near."""

from __future__ import annotations

import json
import re


def concepts() -> dict[str, list[str]]:
    """Each thing that the bundled model draws → its other names."""
    from redilate.pipelines.loading import BUNDLED

    return json.loads((BUNDLED / "concepts.json").read_text(encoding="utf-8"))


def advice(prompt: str) -> str | None:
    """What to say of a prompt that names nothing the bundled model knows; None where it does."""
    words = concepts()
    names = [*words, *(other for others in words.values() for other in others)]
    said = f" {' '.join(re.findall(r'[a-z]+', prompt.lower()))} "
    # In any order: "apple, red" is a red apple.
    if any(all(f" {word} " in said for word in name.split()) for name in names):
        return None
    return f"the bundled model knows nothing of {prompt!r} and draws something near; it knows: {', '.join(words)}"
