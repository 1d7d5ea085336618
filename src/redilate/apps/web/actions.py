"""What happens when somebody presses, types or chooses something on the page."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from redilate.errors import RedilateError

from . import messages
from .draw import MOST_SEED, Ask
from .form import Form, Stage
from .pictures import Picture, read_upload
from .sessions import Session, Studio, Under, Waiting
from .worker import Stopped

Updates = dict[Any, Any]


class Actions:
    """The page's functions: what stands in the form comes in, what to change on the page goes out."""

    def __init__(self, studio: Studio, form: Form, stage: Stage):
        self._studio, self._form, self._stage = studio, form, stage

    def draw(self, values: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Draw what the form says."""
        session = self._session(request)
        # Another tab may share nothing with this one, but a second press must not draw twice.
        if not session.begin():
            return
        try:
            ask = self._ask(values)
            yield from self._run(session, ask)
        except RedilateError as error:
            yield {self._stage.status: messages.refusal(str(error))}
        finally:
            session.end()

    def compare(self, request: gr.Request) -> Iterator[Updates]:
        """Show the picture beside the other method's, which is drawn if it was not."""
        session = self._session(request)
        if session.shown is None or not session.begin():
            return
        try:
            first, partner = session.shown, session.partner()
            if partner is None:
                yield from self._run(session, first.ask.other())
                session.shown = first
            yield self._comparison(session)
        finally:
            session.end()

    def stop(self, request: gr.Request) -> None:
        """End what this visitor waits for, at its next denoising step."""
        job = self._session(request).job
        if job is not None:
            job.stop()

    def choose(self, event: gr.SelectData, request: gr.Request) -> Updates:
        """Show a picture of the gallery."""
        session = self._session(request)
        if session.busy or not 0 <= event.index < len(session.pictures):
            return {self._stage.status: gr.skip()}
        session.shown = session.pictures[event.index]
        return self._picture(session) | {self._stage.status: ""}

    def settings(self, request: gr.Request) -> Updates:
        """Put the settings of the picture that is shown into the form."""
        shown = self._session(request).shown
        form = self._form
        if shown is None:
            return {form.prompt: gr.skip()}
        ask = shown.ask
        return {
            form.prompt: ask.prompt,
            form.negative: ask.negative or "",
            form.width: ask.width,
            form.height: ask.height,
            form.way: ask.way,
            form.strength: ask.strength,
            form.seed: ask.seed,
            form.steps: ask.steps,
            form.guidance: ask.guidance,
            form.scale: None,
            form.shape: None,
        }

    def cost(self, values: dict[Any, Any]) -> str:
        """What the form's picture would cost, or why it can't be had."""
        try:
            ask = self._ask(values, prompt="any", negative="", seed=0, image=None)
        except RedilateError as error:
            return messages.refusal(str(error))
        return messages.cost(ask, self._studio.sizes, self._studio.speed)

    def preset(self, scale: str | None, shape: str | None) -> Any:
        """The sides and their ratio, of a preset."""
        if scale is None or shape is None:
            return gr.skip(), gr.skip(), gr.skip()
        width, height = self._studio.sizes.offered(scale, shape)
        return width, height, height / width

    def width(self, width: float | None, height: float | None, locked: bool, ratio: float) -> Any:
        """Somebody typed a width: the height follows while the ratio (height to width) is locked."""
        if locked and width and width > 0:
            height = self._studio.sizes.other_side(width, ratio)
        elif width and height and width > 0:
            ratio = height / width
        return height, ratio, None, None

    def height(self, width: float | None, height: float | None, locked: bool, ratio: float) -> Any:
        """The same for the height."""
        if locked and height and height > 0:
            width = self._studio.sizes.other_side(height, 1 / ratio)
        elif width and height and width > 0:
            ratio = height / width
        return width, ratio, None, None

    @staticmethod
    def dice() -> int:
        """Another seed."""
        return secrets.randbelow(MOST_SEED + 1)

    def leave(self, request: gr.Request) -> None:
        """The visitor has closed the page."""
        self._studio.end(request.session_hash or "")

    def _session(self, request: gr.Request) -> Session:
        return self._studio.session(request.session_hash or "")

    def _ask(self, values: dict[Any, Any], **instead: Any) -> Ask:
        """What the form says, with some of it replaced."""
        form = self._form
        fields = {
            "prompt": form.prompt,
            "negative": form.negative,
            "width": form.width,
            "height": form.height,
            "way": form.way,
            "seed": form.seed,
            "steps": form.steps,
            "guidance": form.guidance,
            "strength": form.strength,
        }
        said = {name: values[field] for name, field in fields.items() if name not in instead} | instead
        if "image" not in said:
            upload = values[form.image]
            said["image"], said["notes"] = read_upload(Path(upload)) if upload else (None, ())
        return Ask.checked(self._studio.sizes, **said)

    def _run(self, session: Session, ask: Ask) -> Iterator[Updates]:
        stage = self._stage
        yield self._busy(True)
        try:
            for news in self._studio.run(session, ask):
                match news:
                    case Waiting(ahead):
                        yield {stage.status: messages.waiting(ahead)}
                    case Under(done, total, left):
                        yield {stage.status: messages.under(done, total, left)}
                    case Picture():
                        yield self._picture(session) | {stage.status: ""}
                    case early:
                        yield {
                            stage.empty: gr.update(visible=False),
                            stage.slider: gr.update(visible=False),
                            stage.sides: gr.update(value=messages.early(), visible=True),
                            stage.details: gr.update(visible=False),
                            stage.picture: gr.update(value=str(early), visible=True),
                        }
        except Stopped:
            yield self._after(session, messages.stopped())
        except RedilateError as error:
            yield self._after(session, messages.refusal(str(error)))
        except (RuntimeError, MemoryError, OSError) as error:
            yield self._after(session, messages.refusal(_failure(error)))
        yield self._busy(False)

    def _busy(self, busy: bool) -> Updates:
        buttons = {self._form.draw: gr.update(visible=not busy), self._form.stop: gr.update(visible=busy)}
        return buttons | ({self._stage.tools: gr.update(visible=False)} if busy else {})

    def _after(self, session: Session, text: str) -> Updates:
        """Back to the picture that was shown before."""
        before = (
            self._picture(session)
            if session.shown
            else {
                self._stage.picture: gr.update(value=None, visible=False),
                self._stage.sides: gr.update(visible=False),
                self._stage.empty: gr.update(visible=True),
            }
        )
        return before | {self._stage.status: text}

    def _picture(self, session: Session) -> Updates:
        shown, stage = session.shown, self._stage
        assert shown is not None
        other = "re-dilated" if shown.ask.way == "direct" else "direct"
        return {
            stage.empty: gr.update(visible=False),
            stage.picture: gr.update(value=str(shown.path), visible=True),
            stage.slider: gr.update(visible=False),
            stage.sides: gr.update(visible=False),
            stage.details: gr.update(
                value=messages.details(shown.ask, shown.settings, shown.seconds, shown.notes), visible=True
            ),
            stage.tools: gr.update(visible=True),
            stage.download: gr.update(value=str(shown.path)),
            stage.compare: gr.update(value=f"Compare with {other}"),
            stage.gallery: gr.update(
                value=[str(picture.small) for picture in session.pictures], visible=True
            ),
        }

    def _comparison(self, session: Session) -> Updates:
        partner, stage = session.partner(), self._stage
        if session.shown is None or partner is None:
            return {}
        pair = sorted((session.shown, partner), key=lambda picture: picture.ask.way)
        left, right = pair
        return self._picture(session) | {
            stage.picture: gr.update(visible=False),
            stage.slider: gr.update(value=(str(left.path), str(right.path)), visible=True),
            stage.sides: gr.update(value=messages.sides(left.settings, right.settings), visible=True),
        }


def _failure(error: BaseException) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; a smaller size needs less"
    return f"it failed: {' '.join(str(error).split())[:300] or type(error).__name__}"
