"""Arguments of a pipeline's call: those in `extra`, with their checks, and those of a leg."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import RedilateError
from ..pipelines.families import Size, latent_scale, unet_of
from ..pipelines.prompts import check_clip_skip, encode_prompts, note_cut
from .drawing import Drawing, Leg


@dataclass
class Prompts:
    """The prompts as a pipeline's arguments, encoded once for all legs and pictures if possible.

    `on_note` is called with a line about what is cut.
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
        """The prompts' arguments for a call of `pipe`.

        Args:
            prompt, negative: None: left to the embeddings in `arguments`.
            arguments: the call's other arguments.
            own: whether the pipeline has its own text encoders, as `Hires.pipe` has.
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
    """The arguments in the request's `extra` for picture `index`, without the callback, which `run` calls."""
    extra = embeddings_of(drawing, index)
    told = callback_tensors(extra)
    extra.pop("callback_on_step_end", None)
    if told:  # our callback needs the latents
        extra["callback_on_step_end_tensor_inputs"] = list(dict.fromkeys([*told, "latents"]))
    return extra


def large_arguments(drawing: Drawing, leg: Leg, index: int, picture: Any, pipe: Any) -> dict[str, Any]:
    """The same for a large leg's call of `pipe` from `picture`, with what `Hires`, a mask and a ControlNet add."""
    request, hires = drawing.request, drawing.request.hires
    takes = inspect.signature(pipe.__call__).parameters
    size = (leg.width, leg.height)
    arguments = further_arguments(drawing, index)
    if "image" in arguments:
        # A text-to-image pipeline calls its ControlNet's picture `image`.
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
    """The arguments for as many pictures, each with its own seed's noise, also within a scheduler's steps."""
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    if len(generators) == 1:
        return {"generator": generators[0]}
    return {"generator": generators, "num_images_per_prompt": len(generators)}


# The pipeline's name of an argument that `generate` has → `generate`'s.
_OWN_NAMES = {
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
# Custom schedules.
SCHEDULES = ("timesteps", "sigmas")
# Embeddings and their numbers of axes.
_EMBEDDINGS = {
    "prompt_embeds": 3,
    "negative_prompt_embeds": 3,
    "pooled_prompt_embeds": 2,
    "negative_pooled_prompt_embeds": 2,
}
# Embeddings that SDXL needs together.
_TOGETHER = {
    "prompt_embeds": "pooled_prompt_embeds",
    "negative_prompt_embeds": "negative_pooled_prompt_embeds",
}


def check_extra(pipe: Any, extra: Mapping[str, Any], *, from_picture: bool = False) -> None:
    """Refuse arguments that the pipeline does not take, or that `generate` has itself."""
    takes = inspect.signature(type(pipe).__call__).parameters
    for name, value in extra.items():
        if name in _OWN_NAMES:
            raise RedilateError(f"{name} is called {_OWN_NAMES[name]} here; pass it so, not in extra")
        if name in _RETURNED:
            raise RedilateError(
                f"extra has {name!r}, and pictures come back as Pillow pictures; for latents call the pipeline "
                "itself under redilate.apply(pipe)"
            )
        if name not in takes and not (from_picture and name == "control_image"):
            raise RedilateError(f"{type(pipe).__name__} takes no argument {name!r}; leave it out of extra")
        # If the pipeline's default is a number, a list of numbers may do as well.
        number = name in takes and isinstance(takes[name].default, int | float)
        if number and isinstance(value, str | bytes | Mapping):
            raise RedilateError(f"{name} in extra is {value!r}; {type(pipe).__name__} takes a number there")
    for name, axes in _EMBEDDINGS.items():
        value = extra.get(name)
        if value is not None and not isinstance(value, Tensor):
            raise RedilateError(
                f"{name} in extra is a {type(value).__name__}; a tensor, a row a prompt, works"
            )
        if value is not None and (value.ndim != axes or 0 in value.shape):
            shape = "(prompts, tokens, width)" if axes == 3 else "(prompts, width)"
            raise RedilateError(f"{name} in extra is of shape {tuple(value.shape)}; {shape} works")


def check_values(
    pipe: Any, extra: Mapping[str, Any], size: Size, prompts: int = 1, guided: bool = False
) -> None:
    """RedilateError for values in `extra` that `pipe` cannot use.

    Args:
        size: (height, width) of the picture.
        prompts: how many there are.
        guided: whether there is guidance.
    """
    takes = inspect.signature(type(pipe).__call__).parameters
    for name, value in extra.items():
        if value is None:
            continue
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
    _check_embeddings(pipe, extra, prompts, guided)
    check_callback(pipe, extra)
    check_clip_skip(pipe, extra.get("clip_skip"))
    _check_image_prompt(pipe, extra)
    if extra.get("latents") is not None:
        _check_latents(pipe, extra["latents"], size)


def _check_embeddings(pipe: Any, extra: Mapping[str, Any], prompts: int, guided: bool) -> None:
    given = {name: extra[name] for name in _EMBEDDINGS if extra.get(name) is not None}
    for name, value in given.items():
        if len(value) not in (1, prompts):
            rows = "1 works" if prompts == 1 else f"1 or {prompts} work, for {prompts} prompts"
            raise RedilateError(f"{name} in extra has {len(value)} rows; {rows}")
    positive, negative = given.get("prompt_embeds"), given.get("negative_prompt_embeds")
    if positive is None:
        return
    config: Any = unet_of(pipe).config
    width = getattr(config, "encoder_hid_dim", None) or config.cross_attention_dim
    if isinstance(width, int) and positive.shape[2] != width:
        raise RedilateError(
            f"prompt_embeds in extra is of shape {tuple(positive.shape)}; this U-Net's text is {width} wide"
        )
    if negative is not None and negative.shape[1:] != positive.shape[1:]:
        raise RedilateError(
            f"prompt_embeds in extra is of shape {tuple(positive.shape)} and negative_prompt_embeds of "
            f"{tuple(negative.shape)}; as many tokens, and as wide, work"
        )
    window = getattr(getattr(pipe, "tokenizer", None), "model_max_length", math.inf)
    if guided and negative is None and positive.shape[1] > window:
        raise RedilateError(
            f"prompt_embeds in extra has {positive.shape[1]} tokens, and the pipeline makes negative ones of "
            f"{window}; pass negative_prompt_embeds of the same shape, or guidance 1"
        )


def check_callback(pipe: Any, extra: Mapping[str, Any]) -> None:
    """RedilateError for a `callback_on_step_end` that cannot be called, or that asks for tensors `pipe` does not
    have.
    """
    callback = extra.get("callback_on_step_end")
    if callback is not None and not callable(callback):
        raise RedilateError(
            f"callback_on_step_end in extra is {callback!r}; a function or one of diffusers.callbacks works"
        )
    known = getattr(pipe, "_callback_tensor_inputs", ())
    if unknown := [name for name in callback_tensors(extra) if name not in known]:
        raise RedilateError(
            f"{type(pipe).__name__} hands no {unknown[0]!r} to a callback_on_step_end; it knows {', '.join(known)}"
        )


def callback_tensors(extra: Mapping[str, Any]) -> list[str]:
    """The tensors that a `callback_on_step_end` asks for; one of diffusers.callbacks names them itself."""
    own = getattr(extra.get("callback_on_step_end"), "tensor_inputs", ())
    return [*(extra.get("callback_on_step_end_tensor_inputs") or ()), *own]


def _check_image_prompt(pipe: Any, extra: Mapping[str, Any]) -> None:
    loaded = getattr(unet_of(pipe).config, "encoder_hid_dim_type", None) == "ip_image_proj"
    for name in ("ip_adapter_image", "ip_adapter_image_embeds"):
        if extra.get(name) is not None and not loaded:
            raise RedilateError(
                f"extra has {name}, and the pipeline has no IP-Adapter; call its load_ip_adapter first"
            )


def _check_latents(pipe: Any, latents: Any, size: Size) -> None:
    scale, decoder = latent_scale(pipe), getattr(pipe, "vae", None) or getattr(pipe, "movq", None)
    channels = getattr(getattr(decoder, "config", None), "latent_channels", 4)
    wanted = (1, channels, size[0] // scale, size[1] // scale)
    if not isinstance(latents, Tensor) or tuple(latents.shape) != wanted:
        tensor = isinstance(latents, Tensor)
        said = f"of shape {tuple(latents.shape)}" if tensor else f"a {type(latents).__name__}"
        raise RedilateError(f"the latents in extra are {said}; a picture of {size[1]}x{size[0]} has {wanted}")
    if not latents.isfinite().all():
        raise RedilateError("the latents in extra are not all finite numbers; noise from torch.randn is")


def embeddings_of(drawing: Drawing, index: int) -> dict[str, Any]:
    """The request's `extra` for picture `index`: of several prompts' embeddings its own prompt's row."""
    count = drawing.request.count
    row, rows = index // count, len(drawing.seeds) // count
    return {
        name: value[row : row + 1]
        if name.endswith("_embeds") and isinstance(value, Tensor) and len(value) == rows
        else value
        for name, value in drawing.request.extra.items()
    }
