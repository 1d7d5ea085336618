"""The parts of the page that its functions read and change, by name."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
from gradio.components import Component


@dataclass(frozen=True)
class Form:
    """What a visitor fills in, and the buttons that start and stop a picture."""

    prompt: gr.Textbox
    negative: gr.Textbox
    scale: gr.Radio
    shape: gr.Radio
    width: gr.Number
    height: gr.Number
    locked: gr.Checkbox
    ratio: gr.State
    cost: gr.HTML
    way: gr.Radio
    seed: gr.Number
    dice: gr.Button
    steps: gr.Slider
    guidance: gr.Slider
    image: gr.Image
    strength: gr.Slider
    draw: gr.Button
    stop: gr.Button

    @property
    def costly(self) -> list[Any]:
        """What the cost depends on."""
        return [
            self.width,
            self.height,
            self.way,
            self.steps,
            self.guidance,
            self.image,
            self.strength,
        ]

    @property
    def inputs(self) -> set[Component]:
        """All that is read when a picture is asked for."""
        return {self.prompt, self.negative, self.seed, *self.costly}


@dataclass(frozen=True)
class Stage:
    """Where pictures are shown."""

    status: gr.HTML
    empty: gr.HTML
    picture: gr.Image
    slider: gr.ImageSlider
    sides: gr.HTML
    details: gr.HTML
    tools: gr.Row
    download: gr.DownloadButton
    compare: gr.Button
    reuse: gr.Button
    gallery: gr.Gallery

    @property
    def outputs(self) -> list:
        """All of them."""
        return [getattr(self, field.name) for field in fields(self)]
