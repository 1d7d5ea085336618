"""The keyword arguments of a leg's call, from what its drawing says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from ..pipelines.prompts import encode_prompts, note_cut
from .drawing import Drawing, Leg
from .extra import callback_tensors, embeddings_of


@dataclass
class Prompts:
    """The prompts as a pipeline takes them, embedded once for all legs and pictures where they can be.

    Attributes:
        drawing: whose prompts they are.
        on_note: called with a line about what is cut.
    """

    drawing: Drawing
    on_note: Callable[[str], None]
    _encoded: dict[tuple, dict[str, Any]] = field(init=False, default_factory=dict)

    def of(
        self,
        pipe: Any,
        prompt: str | None,
        negative: str | None,
        arguments: dict[str, Any],
        own: bool = False,
    ) -> dict[str, Any]:
        """Keyword arguments for a call of `pipe`.

        Args:
            pipe: the pipeline that is called.
            prompt, negative: None: left to the embeddings in `arguments`.
            arguments: the call's others.
            own: whether the pipeline has text encoders of its own, as `Hires.pipe` has.
        """
        if prompt is None:
            return {} if negative is None else {"negative_prompt": negative}
        if any("prompt" in name for name in self.drawing.request.extra):
            further = [one for name, one in arguments.items() if "prompt" in name and isinstance(one, str)]
            note_cut(pipe, [prompt, *([negative] if negative else []), *further], self.on_note)
            return {"prompt": prompt, "negative_prompt": negative}
        scale = (arguments.get("cross_attention_kwargs") or {}).get("scale")
        encoding = {"clip_skip": arguments.get("clip_skip"), "lora_scale": scale}
        key = (own, prompt, negative, *encoding.values())
        if key not in self._encoded:
            given = {name: value for name, value in encoding.items() if value is not None}
            self._encoded[key] = encode_prompts(
                pipe, prompt, negative, always=True, on_note=self.on_note, **given
            )
        return self._encoded[key]


def further_arguments(drawing: Drawing, index: int) -> dict[str, Any]:
    """What the request's `extra` adds to a call for picture `index`, less the callback, which is ours to call."""
    extra = embeddings_of(drawing, index)
    told = callback_tensors(extra)
    extra.pop("callback_on_step_end", None)
    if told:  # our callback wants the latents
        extra["callback_on_step_end_tensor_inputs"] = list(dict.fromkeys([*told, "latents"]))
    return extra


def large_arguments(drawing: Drawing, leg: Leg, index: int, picture: Any, pipe: Any) -> dict[str, Any]:
    """The same for a call of `pipe` that starts from `picture`, with what `Hires`, a mask and a ControlNet add."""
    request, hires = drawing.request, drawing.request.hires
    takes = inspect.signature(pipe.__call__).parameters
    size = (leg.width, leg.height)
    arguments = further_arguments(drawing, index)
    if "image" in arguments:
        # What a ControlNet follows is called `image` where there is no other picture.
        arguments["control_image"] = arguments.pop("image")
    if hires.prompt is not None:
        arguments = {name: one for name, one in arguments.items() if not name.endswith("prompt_embeds")}
    if hires.control is not None and isinstance(picture, Image.Image):
        arguments["control_image"] = picture.resize(size, Image.Resampling.LANCZOS)
    if request.mask is not None:
        arguments["mask_image"] = request.mask.resize(size)
    if hires.lora_scale is not None and "cross_attention_kwargs" in takes:
        own = arguments.get("cross_attention_kwargs") or {}
        arguments["cross_attention_kwargs"] = own | {"scale": hires.lora_scale}
    sides = {name: side for name, side in (("width", size[0]), ("height", size[1])) if name in takes}
    return arguments | sides


def noise_of(seeds: Sequence[int]) -> dict[str, Any]:
    """What has a pipeline draw as many pictures, each with its own seed's noise, also within a scheduler's steps."""
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    if len(generators) == 1:
        return {"generator": generators[0]}
    return {"generator": generators, "num_images_per_prompt": len(generators)}
