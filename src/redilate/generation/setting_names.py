"""Other tools' names of a picture's settings: diffusers', A1111's and those of tools like it."""

from __future__ import annotations

import re

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
    """`" Negative Prompt"` → `"negative"`: Redilate's name, whatever the case, spaces and dashes."""
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower()).strip("_")
    return OTHER_NAMES.get(plain, plain)
