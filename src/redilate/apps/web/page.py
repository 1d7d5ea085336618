"""The page: its layout, its event handlers, and which of them each component calls."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from redilate.errors import RedilateError

from ..drawing_thread import Cancelled, out_of_memory
from . import messages
from .components import Form, Viewer, html
from .draw import MOST_SEED, PageRequest, Progress, read_upload
from .sessions import Backend, Picture, Session, Waiting

# Pictures in Gradio's own queue: more than the backend's queue takes.
_AT_ONCE = 24

Updates = dict[Any, Any]


def page(backend: Backend, device: str, examples: Sequence[str] = ()) -> gr.Blocks:
    """The page for a backend; `device` is its name for the header, `examples` are prompts to try."""
    with gr.Blocks(title="Redilate", analytics_enabled=False, fill_width=True) as blocks:
        html(messages.header(backend.model, backend.sizes, device))
        # A grid (page.css): on a phone the picture is between the main form and the other settings.
        with gr.Row(elem_classes="rd-layout"):
            with gr.Column(elem_classes="rd-main", min_width=0):
                form = Form(backend.sizes, examples)
            with gr.Column(elem_classes="rd-viewer", min_width=0):
                viewer = Viewer()
            with gr.Column(elem_classes="rd-more", min_width=0):
                form.place_settings(backend.defaults)
        _connect(blocks, Actions(backend, form, viewer), form, viewer)
    blocks.queue(max_size=_AT_ONCE, default_concurrency_limit=_AT_ONCE, api_open=False)
    return blocks


def _connect(blocks: gr.Blocks, do: Actions, form: Form, viewer: Viewer) -> None:
    """Connect the components with their functions, none of which is a public API (`redilate serve` is)."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # Outside the queue of pictures.
    quick: dict[str, Any] = private | {"queue": False}
    fields, drawn = form.fields.values(), [*viewer.outputs, form.draw, form.stop]
    slow: dict[str, Any] = private | {"outputs": drawn, "concurrency_id": "pictures"}
    draw: dict[str, Any] = slow | {"fn": do.draw, "inputs": {*fields, form.image}}
    cost: dict[str, Any] = quick | {"fn": do.cost, "inputs": set(form.costly), "outputs": form.cost}

    form.draw.click(**draw).then(**cost)
    form.prompt.submit(**draw).then(**cost)
    viewer.compare.click(do.compare, None, **slow).then(**cost)
    form.stop.click(do.stop, None, None, **quick)
    form.dice.click(do.dice, None, form.seed, **quick)
    viewer.gallery.select(do.choose, None, viewer.outputs, **quick)
    viewer.reuse.click(do.settings, None, [*fields, form.scale, form.shape], **quick)

    sides, preset = [form.width, form.height], [form.scale, form.shape]
    for choice in preset:
        choice.input(do.preset, preset, [*sides, form.ratio], **quick)
    free = [*sides, form.locked, form.ratio]
    form.width.blur(do.width, free, [form.height, form.ratio, *preset], **quick)
    form.height.blur(do.height, free, [form.width, form.ratio, *preset], **quick)
    gr.on([part.change for part in form.costly], **cost)
    blocks.load(**cost)
    blocks.unload(do.leave)


class Actions:
    """The page's functions: from the form's values to updates of the page."""

    def __init__(self, backend: Backend, form: Form, viewer: Viewer):
        self._backend, self._form, self._viewer = backend, form, viewer

    def draw(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Draw the form's picture."""
        session = self._session(request)
        if not session.lock.acquire(blocking=False):
            return
        try:
            upload = values[self._form.image]
            image, notes = read_upload(Path(upload)) if upload else (None, ())
            yield from self._run(session, self._asked(values, image=image, notes=notes))
        except RedilateError as error:
            yield {self._viewer.status: messages.refusal(str(error))}
        finally:
            session.lock.release()

    def compare(self, request: gr.Request) -> Iterator[Updates]:
        """Show the picture beside the other method's, which is drawn first if need be."""
        session, viewer = self._session(request), self._viewer
        first = session.shown
        if first is None or not session.lock.acquire(blocking=False):
            return
        try:
            if session.partner() is None:
                yield from self._run(session, first.request.other())
                session.shown = first
            if (partner := session.partner()) is not None:
                left, right = sorted((first, partner), key=lambda picture: picture.request.method)
                yield self._picture(session, gr.skip()) | {
                    viewer.picture: gr.update(visible=False),
                    viewer.slider: _shown((str(left.path), str(right.path))),
                    viewer.sides: _shown(messages.sides(left.settings, right.settings)),
                }
        finally:
            session.lock.release()

    def stop(self, request: gr.Request) -> None:
        """Stop this visitor's drawing at its next denoising step."""
        self._backend.stop(self._session(request))

    def choose(self, event: gr.SelectData, request: gr.Request) -> Updates:
        """Show a picture from the gallery."""
        session = self._session(request)
        if session.lock.locked() or not 0 <= event.index < len(session.pictures):
            return {self._viewer.status: gr.skip()}
        session.shown = session.pictures[event.index]
        return self._picture(session)

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

    def dice(self) -> int:
        """Another seed."""
        return secrets.randbelow(MOST_SEED + 1)

    def leave(self, request: gr.Request) -> None:
        """The visitor has closed the page."""
        self._backend.end(request.session_hash or "")

    def _session(self, request: gr.Request) -> Session:
        return self._backend.session(request.session_hash or "")

    def _asked(self, values: dict[Any, Any], **instead: Any) -> PageRequest:
        """The form's request, with some values replaced."""
        said: dict[str, Any] = {name: values.get(field) for name, field in self._form.fields.items()}
        return PageRequest.checked(self._backend.sizes, **said | instead)

    def _run(self, session: Session, request: PageRequest) -> Iterator[Updates]:
        viewer, draw, stop = self._viewer, self._form.draw, self._form.stop
        yield {part: gr.update(visible=part is stop) for part in (draw, stop, viewer.tools)}
        try:
            for news in self._backend.run(session, request):
                match news:
                    case Waiting(ahead):
                        yield {viewer.status: messages.waiting(ahead)}
                    case Progress(done, total, left):
                        yield {viewer.status: messages.progress(done, total, left)}
                    case Picture():
                        yield self._picture(session)
                    case Path():
                        early = {viewer.picture: _shown(str(news)), viewer.sides: _shown(messages.EARLY)}
                        yield self._only(early)
        except Cancelled:
            yield self._picture(session, messages.note("Stopped."))
        except (RuntimeError, MemoryError, OSError, RedilateError) as error:
            if isinstance(error, RedilateError):
                told = str(error)
            elif out_of_memory(error):
                told = "out of memory; a smaller size needs less"
            else:
                told = f"it failed: {' '.join(str(error).split())[:300] or type(error).__name__}"
            yield self._picture(session, messages.refusal(told))
        yield {part: gr.update(visible=part is draw) for part in (draw, stop)}

    def _only(self, shown: Updates) -> Updates:
        """These updates, and the viewer's other parts hidden."""
        viewer = self._viewer
        parts = (viewer.empty, viewer.picture, viewer.slider, viewer.sides, viewer.details)
        return {part: gr.update(visible=False) for part in parts} | shown

    def _picture(self, session: Session, status: Any = "") -> Updates:
        """The session's picture with its details, if there is one, and the status."""
        shown, viewer = session.shown, self._viewer
        if shown is None:
            nothing = {viewer.picture: gr.update(value=None, visible=False)}
            return self._only(nothing | {viewer.empty: gr.update(visible=True), viewer.status: status})
        other = "re-dilated" if shown.request.method == "direct" else "direct"
        return self._only(
            {
                viewer.status: status,
                viewer.picture: _shown(str(shown.path)),
                viewer.details: _shown(messages.details(shown)),
                viewer.tools: gr.update(visible=True),
                viewer.download: gr.update(value=str(shown.path)),
                viewer.compare: gr.update(value=f"Compare with {other}"),
                viewer.gallery: _shown([str(picture.small) for picture in session.pictures]),
            }
        )


def _shown(value: Any) -> Any:
    return gr.update(value=value, visible=True)
