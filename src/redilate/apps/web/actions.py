"""The page's event handlers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from redilate.errors import RedilateError

from ..drawing_thread import Cancelled, out_of_memory
from . import messages
from .components import Form, Viewer
from .draw import MOST_SEED, PageRequest
from .pictures import Picture, read_upload
from .sessions import Backend, Progress, Session, Waiting

Updates = dict[Any, Any]


class Actions:
    """The page's functions: from the form's values to updates of the page."""

    def __init__(self, backend: Backend, form: Form, viewer: Viewer):
        self._backend, self._form, self._viewer = backend, form, viewer

    def draw(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Draw the form's picture."""
        session = self._session(request)
        # A second press must not draw twice.
        if not session.begin():
            return
        try:
            upload = values[self._form.image]
            image, notes = read_upload(Path(upload)) if upload else (None, ())
            yield from self._run(session, self._asked(values, image=image, notes=notes))
        except RedilateError as error:
            yield {self._viewer.status: messages.refusal(str(error))}
        finally:
            session.end()

    def compare(self, request: gr.Request) -> Iterator[Updates]:
        """Show the picture beside the other method's, which is drawn first if need be."""
        session = self._session(request)
        if session.shown is None or not session.begin():
            return
        try:
            first = session.shown
            if session.partner() is None:
                yield from self._run(session, first.request.other())
                session.shown = first
            yield self._comparison(session)
        finally:
            session.end()

    def stop(self, request: gr.Request) -> None:
        """Stop this visitor's drawing at its next denoising step."""
        self._backend.stop(self._session(request))

    def choose(self, event: gr.SelectData, request: gr.Request) -> Updates:
        """Show a picture from the gallery."""
        session = self._session(request)
        if session.busy or not 0 <= event.index < len(session.pictures):
            return {self._viewer.status: gr.skip()}
        session.shown = session.pictures[event.index]
        return self._picture(session) | {self._viewer.status: ""}

    def settings(self, request: gr.Request) -> Updates:
        """Put the shown picture's settings into the form."""
        shown, form = self._session(request).shown, self._form
        if shown is None:
            return {form.prompt: gr.skip()}
        values = {field: getattr(shown.request, name) for name, field in form.fields.items()}
        return values | {form.negative: shown.request.negative or "", form.scale: None, form.shape: None}

    def cost(self, values: dict[Any, Any]) -> str:
        """What the form's picture would cost, or why it can't be drawn."""
        try:
            request = self._asked(values, prompt="any", negative="", seed=0)
        except RedilateError as error:
            return messages.refusal(str(error))
        return messages.cost(request, self._backend.sizes, self._backend.speed)

    def preset(self, scale: str | None, shape: str | None) -> Any:
        """The sides and their ratio for a preset."""
        if scale is None or shape is None:
            return gr.skip(), gr.skip(), gr.skip()
        width, height = self._backend.sizes.offered(scale, shape)
        return width, height, height / width

    def width(self, width: float | None, height: float | None, locked: bool, ratio: float) -> Any:
        """After a typed width: the height follows if the ratio (height to width) is locked."""
        if locked and width and width > 0:
            height = self._backend.sizes.other_side(width, ratio)
        elif width and height and width > 0:
            ratio = height / width
        return height, ratio, None, None

    def height(self, width: float | None, height: float | None, locked: bool, ratio: float) -> Any:
        """After a typed height."""
        if locked and height and height > 0:
            width = self._backend.sizes.other_side(height, 1 / ratio)
        elif width and height and width > 0:
            ratio = height / width
        return width, ratio, None, None

    @staticmethod
    def dice() -> int:
        """Another seed."""
        return secrets.randbelow(MOST_SEED + 1)

    def leave(self, request: gr.Request) -> None:
        """The visitor has closed the page."""
        self._backend.end(request.session_hash or "")

    def _session(self, request: gr.Request) -> Session:
        return self._backend.session(request.session_hash or "")

    def _asked(self, values: dict[Any, Any], **instead: Any) -> PageRequest:
        """The form's request, with some values replaced."""
        fields = {name: field for name, field in self._form.fields.items() if name not in instead}
        said = {name: values[field] for name, field in fields.items()}
        return PageRequest.checked(self._backend.sizes, **said, **instead)

    def _run(self, session: Session, request: PageRequest) -> Iterator[Updates]:
        viewer = self._viewer
        yield self._busy(True) | {viewer.tools: gr.update(visible=False)}
        try:
            for news in self._backend.run(session, request):
                match news:
                    case Waiting(ahead):
                        yield {viewer.status: messages.waiting(ahead)}
                    case Progress(done, total, left):
                        yield {viewer.status: messages.progress(done, total, left)}
                    case Picture():
                        yield self._picture(session) | {viewer.status: ""}
                    case Path():
                        yield self._only(
                            {
                                viewer.picture: gr.update(value=str(news), visible=True),
                                viewer.sides: gr.update(value=messages.early(), visible=True),
                            }
                        )
        except Cancelled:
            yield self._as_before(session, messages.note("Stopped."))
        except RedilateError as error:
            yield self._as_before(session, messages.refusal(str(error)))
        except (RuntimeError, MemoryError, OSError) as error:
            yield self._as_before(session, messages.refusal(_failure(error)))
        yield self._busy(False)

    def _busy(self, busy: bool) -> Updates:
        return {self._form.draw: gr.update(visible=not busy), self._form.stop: gr.update(visible=busy)}

    def _only(self, shown: Updates) -> Updates:
        """These updates, and the viewer's other parts hidden."""
        viewer = self._viewer
        parts = (viewer.empty, viewer.picture, viewer.slider, viewer.sides, viewer.details)
        return {part: gr.update(visible=False) for part in parts} | shown

    def _as_before(self, session: Session, status: str) -> Updates:
        """Show the previous picture again."""
        viewer = self._viewer
        nothing = {
            viewer.picture: gr.update(value=None, visible=False),
            viewer.empty: gr.update(visible=True),
        }
        before = self._picture(session) if session.shown else self._only(nothing)
        return before | {viewer.status: status}

    def _picture(self, session: Session) -> Updates:
        shown, viewer = session.shown, self._viewer
        assert shown is not None
        other = "re-dilated" if shown.request.method == "direct" else "direct"
        return self._only(
            {
                viewer.picture: gr.update(value=str(shown.path), visible=True),
                viewer.details: gr.update(value=messages.details(shown), visible=True),
                viewer.tools: gr.update(visible=True),
                viewer.download: gr.update(value=str(shown.path)),
                viewer.compare: gr.update(value=f"Compare with {other}"),
                viewer.gallery: gr.update(
                    value=[str(picture.small) for picture in session.pictures], visible=True
                ),
            }
        )

    def _comparison(self, session: Session) -> Updates:
        partner, viewer = session.partner(), self._viewer
        if session.shown is None or partner is None:
            return {}
        left, right = sorted((session.shown, partner), key=lambda picture: picture.request.method)
        return self._picture(session) | {
            viewer.picture: gr.update(visible=False),
            viewer.slider: gr.update(value=(str(left.path), str(right.path)), visible=True),
            viewer.sides: gr.update(value=messages.sides(left.settings, right.settings), visible=True),
        }


def _failure(error: BaseException) -> str:
    if out_of_memory(error):
        return "out of memory; a smaller size needs less"
    return f"it failed: {' '.join(str(error).split())[:300] or type(error).__name__}"
