"""The pipeline's own arguments in `extra`: what is refused before any work, and what each picture is given of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import RedilateError
from ..pipelines.families import Size, latent_scale
from .drawing import Drawing

# What `generate` says itself, by the pipeline's word for it.
_OWN_WORDS = {
    "prompt": "prompt",
    "negative_prompt": "negative",
    "width": "width",
    "height": "height",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "generator": "seed",
    "num_images_per_prompt": "count",
    "strength": "strength",
}
_RETURNED = {"output_type", "return_dict"}
# Schedules of one's own: those of one call.
SCHEDULES = ("timesteps", "sigmas")
# Embeddings that SDXL and its kin want together.
_TOGETHER = {
    "prompt_embeds": "pooled_prompt_embeds",
    "negative_prompt_embeds": "negative_pooled_prompt_embeds",
}


def check_extra(pipe: Any, extra: Mapping[str, Any], *, from_picture: bool = False) -> None:
    """Refuse what the pipeline's own call does not take, and what has a word of its own here."""
    takes = inspect.signature(type(pipe).__call__).parameters
    for name in extra:
        if name in _OWN_WORDS:
            raise RedilateError(f"{name} is called {_OWN_WORDS[name]} here; pass it so, not in extra")
        if name in _RETURNED:
            raise RedilateError(
                f"extra has {name!r}, and pictures come back as Pillow pictures; for latents call the pipeline "
                "itself under redilate.apply(pipe)"
            )
        if name not in takes and not (from_picture and name == "control_image"):
            raise RedilateError(f"{type(pipe).__name__} takes no argument {name!r}; leave it out of extra")


def check_values(pipe: Any, extra: Mapping[str, Any], size: Size) -> None:
    """RedilateError for values that the call of `pipe` for a picture of `size` (height, width) cannot use."""
    takes = inspect.signature(type(pipe).__call__).parameters
    for name, value in extra.items():
        if value is None:
            continue
        if name.endswith("prompt_embeds") and not isinstance(value, Tensor):
            raise RedilateError(
                f"{name} in extra is a {type(value).__name__}; a tensor, a row a prompt, works"
            )
        pooled = _TOGETHER.get(name)
        if pooled is not None and pooled in takes and extra.get(pooled) is None:
            raise RedilateError(
                f"extra has {name} without {pooled}; {type(pipe).__name__} takes both from its encode_prompt"
            )
        if name in SCHEDULES and name not in inspect.signature(pipe.scheduler.set_timesteps).parameters:
            raise RedilateError(
                f"{type(pipe.scheduler).__name__} takes no {name} of one's own; leave {name} out of extra, or give "
                "the pipeline another scheduler"
            )
    latents, scale = extra.get("latents"), latent_scale(pipe)
    if latents is not None:
        _check_latents(latents, (size[0] // scale, size[1] // scale), size)


def _check_latents(latents: Any, wanted: Size, size: Size) -> None:
    found = tuple(getattr(latents, "shape", ()))
    if len(found) != 4 or found[-2:] != wanted:
        said = f"of shape {found}" if found else f"a {type(latents).__name__}"
        raise RedilateError(
            f"the latents in extra are {said}; a picture of {size[1]}x{size[0]} has (1, channels, {wanted[0]}, "
            f"{wanted[1]})"
        )


def embeddings_of(drawing: Drawing, index: int) -> dict[str, Any]:
    """The request's `extra` for picture `index`: of embeddings of several prompts the row of its own prompt."""
    count = drawing.request.count
    row, rows = index // count, len(drawing.seeds) // count
    return {
        name: value[row : row + 1]
        if name.endswith("_embeds") and isinstance(value, Tensor) and len(value) == rows
        else value
        for name, value in drawing.request.extra.items()
    }
