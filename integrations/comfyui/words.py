"""What the nodes say of themselves, and the ranges of their numbers: the same in both forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redilate.plans.planner import UNTIL

CATEGORY = "redilate"


@dataclass(frozen=True)
class Words:
    """A node's title, description, numbers (name → default, range, tooltip) and the tooltip of its plan."""

    title: str
    description: str
    numbers: dict[str, dict[str, Any]]
    plan: str = ""


_SIDE = {"default": 1024, "min": 64, "max": 16384, "step": 8, "tooltip": "In pixels, a multiple of 8."}

MODEL = Words(
    title="Redilate Model",
    description="Pictures larger than the model was trained on, with one of each object: its convolutions see as "
    "much of the picture as in training. For U-Nets: Stable Diffusion 1.5, 2.1, SDXL.",
    numbers={
        "native_size": {
            "default": 0,
            "min": 0,
            "max": 4096,
            "step": 8,
            "tooltip": "The side in pixels that the checkpoint was trained at; 0: told from the model. "
            "Illustrious 1.0 is 1536, Turbo 512.",
        },
        "until": {
            "default": UNTIL,
            "min": 0.0,
            "max": 1.0,
            "step": 0.01,
            "tooltip": "The noise level below which the model runs as trained. Lower: fewer repeated objects, less "
            "texture.",
        },
    },
    plan="A plan as JSON (redilate plan --output), instead of the one that follows from the size.",
)
RELAY = Words(
    title="Redilate Relay",
    description="Enlarges a latent drawn at native size and cuts the noise schedule, for a sampler that adds noise "
    "and draws the rest large (SamplerCustom).",
    numbers={
        "width": _SIDE,
        "height": _SIDE,
        "start": {
            "default": 0.7,
            "min": 0.01,
            "max": 1.0,
            "step": 0.01,
            "tooltip": "The noise level at which drawing goes on. Higher: freer; lower: closer to the first picture.",
        },
    },
)
