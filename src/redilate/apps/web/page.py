"""The page: Gradio's components put together, and which function of `Actions` each of them calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from redilate.plans.defaults import FamilyDefaults

from . import messages
from .actions import Actions
from .draw import MOST_STEPS
from .form import Form, Stage
from .sessions import Studio
from .sizes import SCALES, SHAPES
from .upload import upload

# How many pictures may be under way or waiting in Gradio's own threads: more than the studio's line ever takes.
_AT_ONCE = 24


def page(studio: Studio, device: str, examples: Sequence[str] = ()) -> gr.Blocks:
    """The page for a studio.

    Args:
        device: where it draws, in messages.
        examples: prompts to try.
    """
    # Nothing is counted and nothing is sent anywhere.
    with gr.Blocks(title="Redilate", analytics_enabled=False, fill_width=True) as blocks:
        _html(messages.header(studio.model, studio.sizes, device))
        # A grid of our own (page.css): on a phone the picture stands between what one needs and what one may want.
        with gr.Row(elem_classes="rd-layout"):
            with gr.Column(elem_classes="rd-main", min_width=0):
                first = _first(studio, examples)
            with gr.Column(elem_classes="rd-stage", min_width=0):
                stage = _stage()
            with gr.Column(elem_classes="rd-more", min_width=0):
                form = Form(**first, **_more(studio.defaults))
        _wire(blocks, Actions(studio, form, stage), form, stage)
    blocks.queue(max_size=_AT_ONCE, default_concurrency_limit=_AT_ONCE, api_open=False)
    return blocks


def _first(studio: Studio, examples: Sequence[str]) -> dict[str, Any]:
    """What one needs: the prompt, the size and the button; by the names of `Form`."""
    sizes = studio.sizes
    width, height = sizes.offered("2×", "1:1")
    prompt = gr.Textbox(label="Prompt", lines=2, max_lines=6, placeholder="a red apple")
    if examples:
        gr.Examples([[example] for example in examples], prompt, label="Try", api_visibility="private")
    with gr.Group():
        scale = gr.Radio(list(SCALES), value="2×", label="Size", elem_classes="rd-choice", min_width=0)
        shape = gr.Radio(list(SHAPES), value="1:1", label="Shape", elem_classes="rd-choice", min_width=0)
        with gr.Row(elem_classes="rd-pair"):
            wide = gr.Number(width, label="Width", precision=0, step=sizes.step, min_width=0, elem_id="width")
            high = gr.Number(
                height, label="Height", precision=0, step=sizes.step, min_width=0, elem_id="height"
            )
            locked = gr.Checkbox(
                True, label="Keep shape", min_width=0, elem_classes="rd-lock", elem_id="lock"
            )
    ratio = gr.State(height / width)
    cost = _html(elem_id="cost")
    draw = gr.Button("Draw", variant="primary", elem_id="draw")
    stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
    return {
        "prompt": prompt,
        "scale": scale,
        "shape": shape,
        "width": wide,
        "height": high,
        "locked": locked,
        "ratio": ratio,
        "cost": cost,
        "draw": draw,
        "stop": stop,
    }


def _more(defaults: FamilyDefaults) -> dict[str, Any]:
    """What one may want, by the names of `Form`."""
    with gr.Group():
        with gr.Row(elem_classes="rd-pair rd-ways"):
            way = gr.Radio(
                [("Re-dilated", "redilate"), ("Direct", "direct")],
                value="redilate",
                label="Method",
                elem_classes="rd-choice",
                min_width=0,
            )
        strength = gr.Slider(
            0.05,
            1,
            defaults.strength,
            step=0.05,
            label="Strength",
            info="Low keeps the native picture, high invents; 1 draws everything at full size.",
            elem_id="strength",
        )
        with gr.Row(elem_classes="rd-pair"):
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=0, elem_id="seed")
            dice = gr.Button("⚄ Roll", elem_id="dice", min_width=0)
    with gr.Accordion("More settings", open=False):
        negative = gr.Textbox(label="Keep away from", lines=1, max_lines=4)
        steps = gr.Slider(1, MOST_STEPS, 25, step=1, label="Steps", elem_id="steps")
        strong = gr.Slider(0, 20, defaults.guidance, step=0.5, label="Guidance")
    with gr.Accordion("Start from a picture", open=False):
        image = upload(
            label="PNG, JPEG or WebP",
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            elem_id="upload",
        )
    return {
        "way": way,
        "seed": seed,
        "dice": dice,
        "negative": negative,
        "steps": steps,
        "guidance": strong,
        "image": image,
        "strength": strength,
    }


def _stage() -> Stage:
    status = _html(elem_id="status")
    empty = _html(messages.empty())
    picture = gr.Image(
        visible=False,
        interactive=False,
        show_label=False,
        buttons=["fullscreen"],
        elem_id="picture",
        format="png",
    )
    slider = gr.ImageSlider(
        visible=False,
        show_label=False,
        buttons=["fullscreen"],
        max_height=900,
        elem_id="slider",
        format="png",
    )
    sides = _html(visible=False)
    details = _html(visible=False, elem_id="details")
    with gr.Row(visible=False, elem_classes="rd-buttons") as tools:
        download = gr.DownloadButton("Download", size="md", elem_id="download")
        compare = gr.Button("Compare", size="md", elem_id="compare")
        reuse = gr.Button("Use its settings", size="md", elem_id="reuse")
    gallery = gr.Gallery(
        show_label=False,
        visible=False,
        interactive=False,
        columns=7,
        fit_columns=False,
        height="auto",
        object_fit="contain",
        allow_preview=False,
        buttons=[],
        elem_id="gallery",
    )
    return Stage(status, empty, picture, slider, sides, details, tools, download, compare, reuse, gallery)


def _html(value: str = "", **more: Any) -> gr.HTML:
    """Words of our own, without Gradio's margins and colours for prose."""
    return gr.HTML(value, apply_default_css=False, **more)


def _wire(blocks: gr.Blocks, do: Actions, form: Form, stage: Stage) -> None:
    """Connect the components with what they do; nothing of it is an API for others, which `redilate serve` is."""
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    # What only computes takes no place in the queue of pictures.
    quick: dict[str, Any] = private | {"queue": False}
    drawing = [*stage.outputs, form.draw, form.stop]
    draw: dict[str, Any] = {
        "fn": do.draw,
        "inputs": form.inputs,
        "outputs": drawing,
        "concurrency_id": "pictures",
    } | private
    cost: dict[str, Any] = {"fn": do.cost, "inputs": set(form.costly), "outputs": form.cost} | quick

    form.draw.click(**draw).then(**cost)
    form.prompt.submit(**draw).then(**cost)
    stage.compare.click(do.compare, None, drawing, concurrency_id="pictures", **private).then(**cost)
    form.stop.click(do.stop, None, None, **quick)
    form.dice.click(do.dice, None, form.seed, **quick)
    stage.gallery.select(do.choose, None, stage.outputs, **quick)
    filled = [
        form.prompt, form.negative, form.width, form.height, form.way, form.strength, form.seed, form.steps,
        form.guidance, form.scale, form.shape,
    ]  # fmt: skip
    stage.reuse.click(do.settings, None, filled, **quick)

    sides = [form.width, form.height]
    for choice in (form.scale, form.shape):
        choice.input(do.preset, [form.scale, form.shape], [*sides, form.ratio], **quick)
    free = [*sides, form.locked, form.ratio]
    form.width.blur(do.width, free, [form.height, form.ratio, form.scale, form.shape], **quick)
    form.height.blur(do.height, free, [form.width, form.ratio, form.scale, form.shape], **quick)
    gr.on([part.change for part in form.costly], **cost)
    blocks.load(**cost)
    blocks.unload(do.leave)
