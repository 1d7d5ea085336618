"""`Backend`: the model and its queue, which all visitors share; `Session`: one visitor's pictures."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from PIL.Image import Image

from redilate.generation.run import Generation
from redilate.pipelines.families import defaults_family
from redilate.plans.defaults import DEFAULTS

from ..command_line import PipelineOptions
from ..drawing_thread import DrawingThread, Ended, Job
from ..metadata import provenance, save_picture
from .draw import PageRequest, Progress, draw
from .sizes import Sizes, Speed

# A session's older pictures are deleted.
MOST_PICTURES = 48
_PATIENCE = 0.2  # seconds between looks at the queue
_THUMBNAIL = 320  # pixels of the longer side


@dataclass(frozen=True)
class Picture:
    """A picture of a session: its request, its PNG, its settings and notes."""

    request: PageRequest
    path: Path
    seconds: float
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def small(self) -> Path:
        """The thumbnail's path."""
        return self.path.with_name("small.webp")

    def write(self, image: Image) -> None:
        """Write its files."""
        save_picture(self.path, image, self.settings)
        small = image.copy()
        small.thumbnail((_THUMBNAIL, _THUMBNAIL))
        small.save(self.small)

    def forget(self) -> None:
        """Delete its files."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def own_folder(folder: Path) -> Path:
    """A new folder in `folder` with an unguessable name."""
    own = folder / secrets.token_hex(16)
    own.mkdir(parents=True)
    return own


def file_name(settings: dict[str, Any]) -> str:
    """A file's name by its settings: a-red-apple-512x512-seed-7-redilate.png."""
    words = re.sub(r"[^a-z0-9]+", "-", settings["prompt"].lower()).strip("-")[:40].rstrip("-") or "picture"
    size = f"{settings['width']}x{settings['height']}"
    return f"{words}-{size}-seed-{settings['seed']}-{settings['method']}.png"


@dataclass
class Session:
    """One visitor's pictures, newest first, the one shown, and the current job; `lock` is held during a drawing."""

    pictures: list[Picture] = field(default_factory=list)
    shown: Picture | None = None
    job: Job | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def partner(self) -> Picture | None:
        """The picture to compare the shown one with, if it has been drawn."""
        if self.shown is None:
            return None
        wanted = self.shown.request.other()
        return next((picture for picture in self.pictures if picture.request == wanted), None)

    def add(self, picture: Picture) -> None:
        self.pictures.insert(0, picture)
        self.shown = picture
        for old in self.pictures[MOST_PICTURES:]:
            old.forget()
        del self.pictures[MOST_PICTURES:]


@dataclass(frozen=True)
class Waiting:
    """So many pictures are drawn before this one."""

    ahead: int


class Backend:
    """The model, by its name in pictures, the thread that draws with it, and the sessions with pictures in `folder`."""

    def __init__(self, pipe: Any, model: str, folder: Path, options: PipelineOptions | None = None):
        self.model, self.folder = model, folder
        self.sizes = Sizes.of(pipe)
        self.defaults = DEFAULTS[defaults_family(pipe)]
        self.speed = Speed()
        self.thread = DrawingThread(partial(draw, pipe), places=8)
        self._made_by = provenance(pipe, None, options) | {"model": model}
        self._sessions: dict[str, Session] = {}

    def session(self, name: str) -> Session:
        """The session of that name, or a new one."""
        return self._sessions.setdefault(name, Session())

    def stop(self, session: Session) -> None:
        """Stop a visitor's drawing at its next denoising step."""
        if session.job is not None:
            self.thread.cancel(session.job)

    def end(self, name: str) -> None:
        """Stop the drawing of a visitor who has left, and delete their pictures."""
        session = self._sessions.pop(name, None)
        if session is not None:
            self.stop(session)
            for picture in session.pictures:
                picture.forget()

    def run(self, session: Session, request: PageRequest) -> Iterator[Waiting | Progress | Path | Picture]:
        """Draw for a session: yields its progress, the path of the native picture, and at last the `Picture`."""
        events: SimpleQueue[Any] = SimpleQueue()
        job = session.job = Job(request, events.put)
        made = early = before = None
        try:
            self.thread.submit(job)
            while ahead := self.thread.ahead(job):
                if ahead != before:
                    yield Waiting(ahead)
                before = ahead
                time.sleep(_PATIENCE)
            job.check()
            # Only now, since the pictures before have improved the estimate.
            estimate = self.speed.seconds(request.kind, request.area, request.large_steps)
            started = time.monotonic()
            yield Progress(0, request.large_steps, estimate)
            while not isinstance(event := events.get(), Ended):
                match event:
                    case Progress():
                        yield replace(event, left=_left(request, event, time.monotonic() - started, estimate))
                    case Image():
                        early = own_folder(self.folder) / "early.webp"
                        event.save(early, quality=90)  # without settings: it is not the requested picture
                        yield early
                    case Generation():
                        made = event
            if event.error is not None:
                raise event.error
        finally:
            # Also if nobody listens any more.
            self.thread.cancel(job)
            session.job = None
            if early is not None:
                shutil.rmtree(early.parent, ignore_errors=True)
        assert made is not None
        self.speed.add(request.kind, request.area, request.large_steps, made.seconds)
        settings = made.settings | self._made_by
        path = own_folder(self.folder) / file_name(settings)
        picture = Picture(request, path, made.seconds, settings, made.notes)
        picture.write(made.images[0])
        session.add(picture)
        yield picture

    def close(self) -> None:
        """End every session and the thread."""
        self.thread.stop()
        for name in list(self._sessions):
            self.end(name)


def _left(request: PageRequest, step: Progress, passed: float, estimate: float | None) -> float | None:
    """The seconds left: by the pace so far if all steps have one size, else by the estimate."""
    if request.one_leg:
        return passed / step.done * (step.total - step.done)
    return None if estimate is None or estimate <= passed else estimate - passed
