"""The page's texts as HTML; user input is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from .draw import PageRequest
from .sessions import Picture
from .sizes import Sizes, Speed

# A kernel's nine taps, and the same nine dilated.
_LOGO = "".join(
    f'<circle cx="{16 + x * reach}" cy="{16 + y * reach}" r="{radius}"/>'
    for reach, radius in ((4.2, 1.5), (12, 2.3))
    for x in (-1, 0, 1)
    for y in (-1, 0, 1)
    if reach < 10 or x or y
)

EMPTY = '<div class="rd-empty"><p>Say what to draw. The picture appears here.</p></div>'
EARLY = '<div class="rd-sides"><span>early, at native size; the large one follows</span></div>'


def header(model: str, sizes: Sizes, device: str) -> str:
    width, height = sizes.native
    return (
        f'<header class="rd-header"><svg viewBox="0 0 32 32" aria-hidden="true">{_LOGO}</svg><h1>Redilate</h1>'
        f"<p>{escape(model)} · native {width} × {height} · {escape(device)}</p></header>"
    )


def waiting(ahead: int) -> str:
    others = "1 picture is" if ahead == 1 else f"{ahead} pictures are"
    return _bar(0, f"{others} drawn before yours")


def progress(done: int, total: int, left: float | None) -> str:
    step = f"Step {done} of {total}" if done else "Starting"
    return _bar(done / total, step if left is None else f"{step} · {duration(left)} left")


def note(text: str) -> str:
    return f'<p class="rd-note" role="status">{escape(text)}</p>'


def refusal(text: str) -> str:
    """A `RedilateError`'s message."""
    return f'<p class="rd-note rd-bad" role="alert">{escape(text[:1].upper() + text[1:])}.</p>'


def details(picture: Picture) -> str:
    """A picture's settings and notes."""
    request = picture.request
    parts = [f"{request.width} × {request.height}", how(picture.settings), f"seed {request.seed}"]
    parts += [f"{request.steps} steps", f"guidance {request.guidance:g}", duration(picture.seconds)]
    notes = [f"Note: {line}" for line in picture.notes]
    lines = [*map(escape, [str(request.prompt), *notes]), " · ".join(parts)]
    return f'<div class="rd-details">{"".join(f"<p>{line}</p>" for line in lines)}</div>'


def how(settings: Mapping[str, Any]) -> str:
    """How a picture was drawn; "re-dilated" only if a dilation was in force."""
    if settings["method"] == "direct":
        return "direct"
    way = "re-dilated" if settings["legs"][-1]["dilated"] else "as trained"
    if way == "as trained" and settings["strength"] == 1:
        return way
    return f"{way}, strength {settings['strength']:g}"


def sides(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """The captions of a comparison, by the settings of both pictures."""
    return f'<div class="rd-sides"><span>{how(left)}</span><span>{how(right)}</span></div>'


def cost(request: PageRequest, sizes: Sizes, speed: Speed) -> str:
    """How large the picture is, and how long it will take."""
    times = request.area / sizes.native_area
    whole = times >= 9.5 or math.isclose(times, round(times), rel_tol=0.02)
    relation = f"{times:.{0 if whole else 1}f} × the native area"
    if math.isclose(times, 1, rel_tol=0.1):
        relation = "the native area"
    first = f"{request.area / 1e6:.2f} megapixels · {relation}"
    seconds = speed.seconds(request.kind, request.area, request.large_steps)
    if seconds is None:
        second = "the first picture tells how long one takes"
    else:
        second = f"about {duration(seconds)}, {speed.source}"
    return f'<div class="rd-cost"><p>{first}</p><p>{second}</p></div>'


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min`, `1 h 20 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bar(share: float, text: str) -> str:
    percent = round(100 * share)
    return (
        f'<div class="rd-status" role="status"><div class="rd-bar" role="progressbar" aria-label="drawing" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"><span style="width:{percent}%"></span></div>'
        f"<p>{escape(text)}</p></div>"
    )
