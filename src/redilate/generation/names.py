"""What other tools call the settings of a picture: diffusers, A1111 and those that follow them."""

from __future__ import annotations

import re

# Another tool's name → the one used here.
OTHER_NAMES = {
    "text_prompt": "prompt",
    "positive_prompt": "prompt",
    "negative_prompt": "negative",
    "neg_prompt": "negative",
    "num_inference_steps": "steps",
    "inference_steps": "steps",
    "sampling_steps": "steps",
    "num_steps": "steps",
    "guidance_scale": "guidance",
    "cfg_scale": "guidance",
    "cfg": "guidance",
    "denoising_strength": "strength",
}


def own_name(name: str) -> str:
    """`" Negative Prompt"` → `"negative"`: without case, spaces or dashes, and by the name used here."""
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower()).strip("_")
    return OTHER_NAMES.get(plain, plain)
