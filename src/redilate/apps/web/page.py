"""The page: its layout, and which function of `Actions` each component calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from . import messages
from .actions import Actions
from .components import Form, Viewer, html
from .sessions import Backend

# How many pictures may be under way or waiting in Gradio's own threads: more than the backend's queue ever takes.
_AT_ONCE = 24


def page(backend: Backend, device: str, examples: Sequence[str] = ()) -> gr.Blocks:
    """The page for a backend.

    Args:
        device: where it draws, in messages.
        examples: prompts to try.
    """
    # Nothing is counted and nothing is sent anywhere.
    with gr.Blocks(title="Redilate", analytics_enabled=False, fill_width=True) as blocks:
        html(messages.header(backend.model, backend.sizes, device))
        # A grid of our own (page.css): on a phone the picture stands between what one needs and what one may want.
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
    """Connect the components with what they do; nothing of it is an API for others, which `redilate serve` is."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # What only computes takes no place in the queue of pictures.
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
