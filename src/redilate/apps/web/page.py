"""The page: its layout, and the function of `Actions` that each component calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from . import messages
from .actions import Actions
from .components import Form, Viewer, html
from .sessions import Backend

# Pictures in Gradio's own queue: more than the backend's queue takes.
_AT_ONCE = 24


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

    sides = [form.width, form.height]
    for choice in (form.scale, form.shape):
        choice.input(do.preset, [form.scale, form.shape], [*sides, form.ratio], **quick)
    free = [*sides, form.locked, form.ratio]
    form.width.blur(do.width, free, [form.height, form.ratio, form.scale, form.shape], **quick)
    form.height.blur(do.height, free, [form.width, form.ratio, form.scale, form.shape], **quick)
    gr.on([part.change for part in form.costly], **cost)
    blocks.load(**cost)
    blocks.unload(do.leave)
