"""The page's components: the form and the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio_client.utils import is_http_url_like

from redilate.plans.defaults import FamilyDefaults

from . import messages
from .draw import MOST_STEPS
from .sizes import SCALES, SHAPES, Sizes


class Form:
    """The form, with the buttons that start and stop a drawing.

    The constructor places prompt, size and buttons, `place_settings` the other settings.
    """

    def __init__(self, sizes: Sizes, examples: Sequence[str]):
        width, height = sizes.offered("2×", "1:1")
        self.prompt = gr.Textbox(label="Prompt", lines=2, max_lines=6, placeholder="a red apple")
        if examples:
            gr.Examples([[one] for one in examples], self.prompt, label="Try", api_visibility="private")
        with gr.Group():
            self.scale = _choice(list(SCALES), "2×", "Size")
            self.shape = _choice(list(SHAPES), "1:1", "Shape")
            with gr.Row(elem_classes="rd-pair"):
                side: dict[str, Any] = {"precision": 0, "step": sizes.step, "min_width": 0}
                self.width = gr.Number(width, label="Width", elem_id="width", **side)
                self.height = gr.Number(height, label="Height", elem_id="height", **side)
                self.locked = gr.Checkbox(
                    True, label="Keep shape", min_width=0, elem_classes="rd-lock", elem_id="lock"
                )
        self.ratio = gr.State(height / width)
        self.cost = html(elem_id="cost")
        self.draw = gr.Button("Draw", variant="primary", elem_id="draw")
        self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")

    def place_settings(self, defaults: FamilyDefaults) -> None:
        """Place the other settings."""
        with gr.Group():
            with gr.Row(elem_classes="rd-pair rd-ways"):
                self.method = _choice(
                    [("Re-dilated", "redilate"), ("Direct", "direct")], "redilate", "Method"
                )
            self.strength = gr.Slider(
                0.05,
                1,
                defaults.strength,
                step=0.05,
                label="Strength",
                info="Low keeps the native picture, high invents; 1 draws everything at full size.",
                elem_id="strength",
            )
            with gr.Row(elem_classes="rd-pair"):
                self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=0, elem_id="seed")
                self.dice = gr.Button("⚄ Roll", elem_id="dice", min_width=0)
        with gr.Accordion("More settings", open=False):
            self.negative = gr.Textbox(label="Keep away from", lines=1, max_lines=4)
            self.steps = gr.Slider(1, MOST_STEPS, 25, step=1, label="Steps", elem_id="steps")
            self.guidance = gr.Slider(0, 20, defaults.guidance, step=0.5, label="Guidance")
        with gr.Accordion("Start from a picture", open=False):
            self.image = _upload()

    @property
    def fields(self) -> dict[str, Component]:
        """`PageRequest`'s attribute → its component, without the picture to start from."""
        names = ["prompt", "negative", "width", "height", "method", "strength", "seed", "steps", "guidance"]
        return {name: getattr(self, name) for name in names}

    @property
    def costly(self) -> list[Any]:
        """The components that the cost depends on."""
        return [self.width, self.height, self.method, self.steps, self.guidance, self.strength]


class Viewer:
    """The pictures, with what belongs to them."""

    def __init__(self) -> None:
        shown: dict[str, Any] = {
            "visible": False,
            "show_label": False,
            "buttons": ["fullscreen"],
            "format": "png",
        }
        self.status = html(elem_id="status")
        self.empty = html(messages.EMPTY)
        self.picture = gr.Image(interactive=False, elem_id="picture", **shown)
        self.slider = gr.ImageSlider(max_height=900, elem_id="slider", **shown)
        self.sides = html(visible=False)
        self.details = html(visible=False, elem_id="details")
        with gr.Row(visible=False, elem_classes="rd-buttons") as self.tools:
            self.download = gr.DownloadButton("Download", size="md", elem_id="download")
            self.compare = gr.Button("Compare", size="md", elem_id="compare")
            self.reuse = gr.Button("Use its settings", size="md", elem_id="reuse")
        self.gallery = gr.Gallery(
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

    @property
    def outputs(self) -> list[Any]:
        """All components."""
        return list(vars(self).values())


def _choice(choices: list[Any], value: str, label: str) -> gr.Radio:
    return gr.Radio(choices, value=value, label=label, elem_classes="rd-choice", min_width=0)


def _upload() -> gr.Image:
    """The field for a picture to start from: a gr.Image that does not fetch addresses.

    Gradio itself refuses paths that were not uploaded. The method is replaced on the object, because Gradio writes a
    file beside the source of each subclass.
    """
    field = gr.Image(
        label="PNG, JPEG or WebP",
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        elem_id="upload",
    )
    take = field.async_move_resource_to_block_cache

    async def take_files(url_or_file_path: str | Path | None) -> str | None:
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Only an uploaded picture is taken, not an address.")
        return await take(url_or_file_path)

    setattr(field, "async_move_resource_to_block_cache", take_files)  # noqa: B010  # pyright knows a method there
    return field


def html(value: str = "", **more: Any) -> gr.HTML:
    """HTML without Gradio's margins and colours."""
    return gr.HTML(value, apply_default_css=False, **more)
