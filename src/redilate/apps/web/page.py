"""The page: Gradio's components put together, and which function of `Actions` each of them calls."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from . import words
from .actions import Actions
from .drawing import MOST_STEPS, modes
from .form import Form, Stage
from .sizes import SCALES, SHAPES
from .studio import Studio
from .upload import Upload

# How many pictures may be under way or waiting in Gradio's own threads: more than the studio's line ever takes.
_AT_ONCE = 24


def page(studio: Studio, device: str, guidance: float = 5.0, examples: Sequence[str] = ()) -> gr.Blocks:
    """The page for a studio.

    Args:
        device: where it draws, in words.
        guidance: that the form starts with.
        examples: prompts to try.
    """
    # Nothing is counted and nothing is sent anywhere.
    with gr.Blocks(title="Redilate", analytics_enabled=False) as blocks:
        gr.HTML(words.header(studio.model, studio.sizes, device))
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                form = _form(studio, guidance, examples)
            with gr.Column(scale=7, min_width=320):
                stage = _stage()
        _wire(blocks, Actions(studio, form, stage), form, stage)
    blocks.queue(max_size=_AT_ONCE, default_concurrency_limit=_AT_ONCE, api_open=False)
    return blocks


def _form(studio: Studio, guidance: float, examples: Sequence[str]) -> Form:
    sizes = studio.sizes
    width, height = sizes.offered("2×", "1:1")
    prompt = gr.Textbox(label="Prompt", lines=2, max_lines=6, placeholder="a red apple", autofocus=True)
    if examples:
        gr.Examples([[example] for example in examples], prompt, label="Try", api_visibility="private")
    with gr.Group():
        scale = gr.Radio(list(SCALES), value="2×", label="Size")
        shape = gr.Radio(list(SHAPES), value="1:1", label="Shape")
        with gr.Row():
            wide = gr.Number(width, label="Width", precision=0, step=sizes.step, min_width=80)
            high = gr.Number(height, label="Height", precision=0, step=sizes.step, min_width=80)
        locked = gr.Checkbox(True, label="Keep the shape", container=False)
        ratio = gr.State(height / width)
    cost = gr.HTML()
    with gr.Row():
        draw = gr.Button("Draw", variant="primary", elem_id="draw")
        stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
    with gr.Group():
        with gr.Row():
            seed = gr.Number(0, label="Seed", precision=0, minimum=0, scale=3, min_width=120)
            dice = gr.Button("⚄ Roll", scale=1, min_width=80, elem_id="dice")
        way = gr.Radio([("Re-dilated", "redilate"), ("Direct", "direct")], value="redilate", label="Method")
        known = modes()
        mode = gr.Radio(
            [("Single stage", "single"), ("Relay", "relay")],
            value="single",
            label="Mode",
            visible="relay" in known,
        )
    with gr.Accordion("More settings", open=False):
        negative = gr.Textbox(label="Keep away from", lines=1, max_lines=4)
        steps = gr.Slider(1, MOST_STEPS, 25, step=1, label="Steps")
        strong = gr.Slider(0, 20, guidance, step=0.5, label="Guidance")
    with gr.Accordion("Start from a picture", open=False):
        image = Upload(label="PNG, JPEG or WebP", type="filepath", image_mode=None, sources=["upload", "clipboard"])
        strength = gr.Slider(0.05, 1, 0.6, step=0.05, label="How much is drawn anew")
    return Form(
        prompt, negative, scale, shape, wide, high, locked, ratio, cost, way, mode, seed, dice, steps, strong, image,
        strength, draw, stop,
    )  # fmt: skip


def _stage() -> Stage:
    status = gr.HTML(elem_id="status")
    empty = gr.HTML(words.empty())
    picture = gr.Image(
        visible=False, interactive=False, show_label=False, buttons=["fullscreen"], elem_id="picture", format="png"
    )
    slider = gr.ImageSlider(
        visible=False, show_label=False, buttons=["fullscreen"], max_height=900, elem_id="slider", format="png"
    )
    sides = gr.HTML(visible=False)
    details = gr.HTML(visible=False, elem_id="details")
    with gr.Row(visible=False, elem_classes="rd-buttons") as tools:
        download = gr.DownloadButton("Download", size="md", elem_id="download")
        compare = gr.Button("Compare", size="md", elem_id="compare")
        reuse = gr.Button("Use its settings", size="md", elem_id="reuse")
    gallery = gr.Gallery(
        label="This session",
        visible=False,
        interactive=False,
        columns=6,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        buttons=[],
        elem_id="gallery",
    )
    return Stage(status, empty, picture, slider, sides, details, tools, download, compare, reuse, gallery)


def _wire(blocks: gr.Blocks, do: Actions, form: Form, stage: Stage) -> None:
    """Connect the components with what they do; nothing of it is an API for others, which `redilate serve` is."""
    private = {"api_visibility": "private", "show_progress": "hidden"}
    # What only computes takes no place in the queue of pictures.
    quick = private | {"queue": False}
    drawing = [*stage.outputs, form.draw, form.stop]
    draw = {"fn": do.draw, "inputs": form.inputs, "outputs": drawing, "concurrency_id": "pictures"} | private
    cost = {"fn": do.cost, "inputs": set(form.costly), "outputs": form.cost} | quick

    form.draw.click(**draw).then(**cost)
    form.prompt.submit(**draw).then(**cost)
    stage.compare.click(do.compare, None, drawing, concurrency_id="pictures", **private).then(**cost)
    form.stop.click(do.stop, None, None, **quick)
    form.dice.click(do.dice, None, form.seed, **quick)
    stage.gallery.select(do.choose, None, stage.outputs, **quick)
    filled = [
        form.prompt, form.negative, form.width, form.height, form.way, form.mode, form.seed, form.steps,
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
