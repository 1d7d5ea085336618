"""What may be asked is what may be recorded: nothing is drawn whose settings would be called damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from redilate import RedilateError
from redilate.apps.metadata import embedding
from redilate.apps.recorded_settings import Recorded
from redilate.generation.drawing import SEEDS, settled_seed

ASKED: dict[str, Any] = {
    "prompt": "a", "negative": None, "width": 16, "height": 8, "seed": 7, "steps": 25, "guidance": 5.0,
}  # fmt: skip


def read_back(tmp_path: Path, asked: dict[str, Any]) -> Recorded:
    settings = asked | {"method": "redilate", "versions": {"redilate": "0.1.0"}}
    path = tmp_path / "picture.png"
    Image.new("RGB", (asked["width"], asked["height"])).save(path, **embedding("PNG", settings))
    return Recorded.read(path)


@pytest.mark.parametrize(
    "said",
    [{}, {"seed": SEEDS - 1}, {"seed": 0}, {"steps": 10_000}, {"guidance": 0}, {"guidance": 1e30}, {"strength": 1.0}],
    ids=str,
)  # fmt: skip
def test_what_may_be_asked_is_read_back(tmp_path: Path, said: dict[str, Any]):
    found = read_back(tmp_path, ASKED | said)
    assert all(getattr(found, name) == value for name, value in (ASKED | said).items())


@pytest.mark.parametrize(
    "said",
    [
        {"seed": SEEDS}, {"seed": -1}, {"steps": 0}, {"steps": 10_001}, {"guidance": float("inf")},
        {"guidance": float("nan")}, {"guidance": -1.0}, {"strength": 0.0}, {"strength": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_what_may_not_be_asked_is_refused_in_a_picture(tmp_path: Path, said: dict[str, Any]):
    (name,) = said
    with pytest.raises(RedilateError, match=f"damaged: {name}"):
        read_back(tmp_path, ASKED | said)


@pytest.mark.parametrize("seed", [None, -1])
def test_any_seed_is_one_that_can_be_asked_again(seed: int | None):
    taken = {settled_seed(seed, 3) for _ in range(8)}
    assert len(taken) > 1 and all(settled_seed(one, 3) == one for one in taken)


def test_every_seed_of_several_must_be_one():
    assert settled_seed(SEEDS - 1) == SEEDS - 1
    assert settled_seed(SEEDS - 2, 2) == SEEDS - 2
    with pytest.raises(RedilateError, match=f"seed {SEEDS - 1}: 0 to {SEEDS - 2} works for 2 pictures"):
        settled_seed(SEEDS - 1, 2)
    with pytest.raises(RedilateError, match="-1 for any"):
        settled_seed(-2)
