from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from redilate.apps.web import messages
from redilate.apps.web.draw import PageRequest
from redilate.apps.web.sessions import Picture
from redilate.apps.web.sizes import Sizes, Speed

SETTINGS = {"method": "redilate", "strength": 0.45, "legs": [{"dilated": 0}, {"dilated": 9}]}
SIZES = Sizes(native=(256, 256), step=8, even=32)

REQUEST = PageRequest("fox", width=256, height=256, steps=10, guidance=3.0, strength=1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (99.4, "99 s"), (100, "2 min"), (4800, "1 h 20 min")],
)
def test_durations_are_as_exact_as_an_estimate_deserves(seconds: float, text: str):
    assert messages.duration(seconds) == text


def test_whatever_a_person_typed_is_escaped():
    named = Picture(replace(REQUEST, prompt="<script>"), Path(), 1, SETTINGS)
    noted = Picture(REQUEST, Path(), 1, SETTINGS, ("<script>",))
    for html in (
        messages.details(named),
        messages.details(noted),
        messages.refusal("<script>"),
        messages.note("<script>"),
    ):
        assert "<script>" not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("width", "height", "relation"),
    [(256, 256, "the native area"), (512, 512, "4 × the native area"), (384, 256, "1.5 × the native area"),
     (1024, 1024, "16 × the native area")],
)  # fmt: skip
def test_the_cost_says_how_large_and_how_long(width: int, height: int, relation: str):
    speed = Speed()
    request = replace(REQUEST, width=width, height=height)
    assert relation in messages.cost(request, SIZES, speed)
    assert "the first picture tells" in messages.cost(request, SIZES, speed)
    speed.add(request.kind, 256 * 256, steps=10, seconds=5)
    expected = messages.duration(5 * width * height / 256**2)
    assert f"about {expected}, from the picture drawn here" in messages.cost(request, SIZES, speed)


def test_a_bar_shows_the_share_and_what_is_left():
    html = messages.progress(5, 20, 30)
    assert 'aria-valuenow="25"' in html and "Step 5 of 20 · 30 s left" in html
    assert "1 picture is drawn before yours" in messages.waiting(1)
    assert "2 pictures are drawn before yours" in messages.waiting(2)


def test_a_picture_is_called_re_dilated_only_where_it_was():
    assert messages.how(SETTINGS) == "re-dilated, strength 0.45"
    below = SETTINGS | {"strength": 0.2, "legs": [{"dilated": 0}, {"dilated": 0}]}
    assert messages.how(below) == "as trained, strength 0.2"
    assert messages.how(SETTINGS | {"method": "direct"}) == "direct"
