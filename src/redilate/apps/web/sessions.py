"""What all visitors of the page share, the model and the line before it, and what each has drawn."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redilate.apps.metadata import provenance
from redilate.pipelines.families import defaults_family
from redilate.plans.defaults import DEFAULTS

from . import pictures
from .draw import Ask, Drawn, Early, Step, draw
from .pictures import Picture
from .sizes import Sizes
from .speed import Speed
from .worker import Job, Worker

# Older ones of a session are forgotten.
MOST_PICTURES = 48
_PATIENCE = 0.2  # seconds between looks at the line


@dataclass
class Session:
    """One visitor's pictures, the newest first, which of them is shown, and the job under way."""

    folder: Path
    sizes: Sizes
    pictures: list[Picture] = field(default_factory=list)
    shown: Picture | None = None
    job: Job | None = None
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """Take the session for one picture; False where one is under way. Safe against two presses at once."""
        return self._busy.acquire(blocking=False)

    def end(self) -> None:
        """Let the next picture begin."""
        self._busy.release()

    @property
    def busy(self) -> bool:
        """Whether a picture is under way."""
        return self._busy.locked()

    def partner(self) -> Picture | None:
        """The picture that the shown one can be compared with, where it has been drawn."""
        if self.shown is None:
            return None
        wanted = self.shown.ask.other()
        return next((picture for picture in self.pictures if picture.ask == wanted), None)

    def add(self, picture: Picture) -> None:
        self.pictures.insert(0, picture)
        self.shown = picture
        for old in self.pictures[MOST_PICTURES:]:
            old.forget()
        del self.pictures[MOST_PICTURES:]


@dataclass(frozen=True)
class Waiting:
    """So many are drawn before this one."""

    ahead: int


@dataclass(frozen=True)
class Under:
    """Under way: `done` of `total` steps, and the seconds that are left, where that is known."""

    done: int
    total: int
    left: float | None


News = Waiting | Under | Path | Picture


class Studio:
    """The model, the one thread that draws with it, and the sessions.

    Args:
        pipe: the pipeline; nobody else may use it.
        model: what a picture's settings call it.
        folder: where pictures are kept while their session lasts.
        waiting: how many may wait for their picture.
    """

    def __init__(self, pipe: Any, model: str, folder: Path, waiting: int = 8):
        self.pipe, self.model, self.folder = pipe, model, folder
        self.sizes = Sizes.of(pipe)
        self.defaults = DEFAULTS[defaults_family(pipe)]
        self.speed = Speed()
        self.worker = Worker(waiting)
        self._made_by = provenance(pipe, None) | {"model": model}
        self._sessions: dict[str, Session] = {}

    def session(self, name: str) -> Session:
        """The session of that name, a new one where there is none."""
        return self._sessions.setdefault(name, Session(self.folder, self.sizes))

    def end(self, name: str) -> None:
        """The visitor has gone: stop what they wait for and forget what they drew."""
        session = self._sessions.pop(name, None)
        if session is None:
            return
        if session.job is not None:
            session.job.stop()
        for picture in session.pictures:
            picture.forget()

    def run(self, session: Session, ask: Ask) -> Iterator[News]:
        """Draw for a session, telling how it goes; the last of the news is the `Picture`, or the path of an early one.

        Raises:
            Stopped: `session.job` was stopped.
            RedilateError: the line is full, or the engine refuses.
        """
        job = self.worker.submit(lambda job: draw(self.pipe, ask, job))
        session.job = job
        early: Path | None = None
        ahead, started = -1, time.monotonic()
        try:
            while not job.future.done():
                if ahead != 0:
                    before, ahead = ahead, self.worker.ahead(job)
                    started = time.monotonic()
                    if ahead != before:
                        yield Waiting(ahead) if ahead else Under(0, ask.taken, self._estimate(ask))
                report = job.next_report(_PATIENCE)
                if isinstance(report, Step):
                    yield Under(
                        report.done, report.total, self._left(ask, report, time.monotonic() - started)
                    )
                elif isinstance(report, Early):
                    early = pictures.keep_early(self.folder, report.image)
                    yield early
            drawn: Drawn = job.future.result()
        finally:
            # Also where nobody listens any more.
            job.stop()
            session.job = None
            if early is not None:
                shutil.rmtree(early.parent, ignore_errors=True)
        self.speed.add(ask.kind, ask.width, ask.height, ask.taken, drawn.seconds)
        told = replace(drawn, settings=drawn.settings | self._made_by)
        picture = pictures.keep(self.folder, ask, told)
        session.add(picture)
        yield picture

    def _left(self, ask: Ask, step: Step, passed: float) -> float | None:
        """Seconds that are left, by the pace so far where all steps are alike; the last leg's are larger."""
        if ask.one_leg:
            return passed / step.done * (step.total - step.done)
        estimate = self._estimate(ask)
        return None if estimate is None or estimate <= passed else estimate - passed

    def _estimate(self, ask: Ask) -> float | None:
        return self.speed.seconds(ask.kind, ask.width, ask.height, ask.taken)

    def close(self) -> None:
        """End every session and the thread."""
        self.worker.close()
        for name in list(self._sessions):
            self.end(name)
