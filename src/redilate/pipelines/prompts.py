"""Prompts longer than the text encoder's window: encoded in pieces, or a note says what is cut.

Each piece is encoded by the pipeline's own `encode_prompt`, with its LoRA scale, clip skip and textual inversions.
compel and sd_embed would read `+`, `(` and `:` in a prompt as weights, which the pipeline does not.
"""

from __future__ import annotations

import bisect
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import RedilateError

Text = str | list[str]

# What `encode_prompt` returns, in this order: Stable Diffusion the first two, SDXL all four.
_EMBEDDINGS = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)
# The window of pipelines that call their tokenizer with another length (DeepFloyd IF).
_USUAL_WINDOW = 77


@torch.no_grad()
def encode_prompts(
    pipe: Any,
    prompt: Text,
    negative: Text | None = None,
    *,
    always: bool = False,
    on_note: Callable[[str], None] = warnings.warn,
    **encoding: Any,
) -> dict[str, Any]:
    """Arguments of `pipe` for these prompts, in place of `prompt` and `negative_prompt`.

    Prompts that fit the text encoder's window stay texts. A longer one is split into pieces of whole words, each
    encoded in a window of its own, and their embeddings are concatenated, as A1111 and ComfyUI do; the shorter one of
    prompt and negative prompt is padded with empty pieces. The pooled embedding is the first piece's.

    Args:
        pipe: a diffusers pipeline.
        prompt, negative: one prompt, or a list; a single negative prompt holds for all.
        always: encode prompts that fit too, if the pipeline takes embeddings: for several calls.
        on_note: called with a line about the words that are cut, if the pipeline takes no embeddings.
        encoding: further arguments of `encode_prompt`, such as `clip_skip` and `lora_scale`.

    Returns:
        `prompt` and `negative_prompt`; or `prompt_embeds` of shape (prompts, pieces × window, width),
        `negative_prompt_embeds` and, of SDXL, the pooled ones.

    Raises:
        RedilateError: as many negative prompts as prompts, or one, are needed.
    """
    prompts = [prompt] if isinstance(prompt, str) else prompt
    negatives = [negative] if isinstance(negative, str) else negative
    if negatives is not None and len(negatives) not in (1, len(prompts)):
        raise RedilateError(
            f"{len(negatives)} negative prompts for {len(prompts)} prompts; one, or as many, works"
        )
    asked = {"prompt": prompt, "negative_prompt": negative}
    long = [text for text in (*prompts, *(negatives or [])) if not _fits(pipe, text)]
    takes = _takes_pieces(pipe)
    if not long and not (always and takes):
        return asked
    if not takes:
        note_cut(pipe, long, on_note)
        return asked
    pieces = [_read(pipe, text) for text in prompts]
    against = None if negatives is None else [_read(pipe, text) for text in negatives]
    if against is not None and len(against) == 1:
        against *= len(pieces)
    count = max(len(found) for found in (*pieces, *(against or [])))
    encoded = [
        pipe.encode_prompt(
            prompt=_nth(pieces, index),
            device=pipe._execution_device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=None if against is None else _nth(against, index),
            **encoding,
        )
        for index in range(count)
    ]
    sequences = [torch.cat(part, dim=1) for part in zip(*(one[:2] for one in encoded), strict=True)]
    return dict(zip(_EMBEDDINGS, (*sequences, *encoded[0][2:]), strict=False))


def check_clip_skip(pipe: Any, skip: Any) -> None:
    """RedilateError for a `clip_skip` that the text encoders of `pipe` cannot use."""
    encoders = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2")]
    layers = [one.config.num_hidden_layers for one in encoders if one is not None]
    if skip is None or not layers:
        return
    if not isinstance(skip, int) or not 0 <= skip < min(layers):
        raise RedilateError(
            f"clip_skip in extra is {skip!r}; for a text encoder of {min(layers)} layers 0 to {min(layers) - 1} works"
        )
    reads = inspect.unwrap(type(pipe).encode_prompt).__code__.co_names
    if "text_model" in reads and not hasattr(pipe.text_encoder, "text_model"):
        import diffusers
        import transformers

        raise RedilateError(
            f"clip_skip is {skip}, and {type(pipe).__name__} of diffusers {diffusers.__version__} cannot skip layers "
            f"of the text encoder of transformers {transformers.__version__}: it looks for a part that is gone; "
            "leave clip_skip out, or pass prompt_embeds and negative_prompt_embeds in extra"
        )


def note_cut(pipe: Any, texts: Sequence[str], on_note: Callable[[str], None]) -> None:
    """Call `on_note` for each text that the pipeline would cut."""
    for text in texts:
        if not _fits(pipe, text):
            on_note(_cut(pipe, text))


def _nth(pieces: Sequence[list[str]], index: int) -> list[str]:
    return [found[index] if index < len(found) else "" for found in pieces]


def _tokenizers(pipe: Any) -> list[Any]:
    """The tokenizers of the prompt."""
    return [
        part
        for name, part in pipe.components.items()
        if name.startswith("tokenizer") and hasattr(part, "tokenize")
    ]


def _window_tokens(pipe: Any, tokenizer: Any) -> int:
    """How many tokens of a prompt a window holds, without its start and end tokens."""
    window = tokenizer.model_max_length
    encode = getattr(pipe, "encode_prompt", None)
    if not _is_clip(tokenizer):
        parameters = {} if encode is None else inspect.signature(encode).parameters
        says = parameters.get("max_sequence_length")
        window = min(window, _USUAL_WINDOW if says is None else says.default)
    return window - tokenizer.num_special_tokens_to_add()


def _tokens(pipe: Any, tokenizer: Any, text: str) -> list[str]:
    # A textual inversion's word stands for several tokens.
    convert = getattr(pipe, "maybe_convert_prompt", None)
    return tokenizer.tokenize(text if convert is None else convert(text, tokenizer))


def _fits(pipe: Any, text: str) -> bool:
    return all(len(_tokens(pipe, one, text)) <= _window_tokens(pipe, one) for one in _tokenizers(pipe))


def _is_clip(tokenizer: Any) -> bool:
    return type(tokenizer).__name__.startswith("CLIPTokenizer")


def _takes_pieces(pipe: Any) -> bool:
    """Whether `encode_prompt` is like Stable Diffusion's or SDXL's, and the pipeline takes its results."""
    encode = getattr(pipe, "encode_prompt", None)
    if encode is None or not all(map(_is_clip, _tokenizers(pipe))):
        return False
    parameters = list(inspect.signature(encode).parameters)
    needed = {"device", "num_images_per_prompt", "do_classifier_free_guidance", "negative_prompt"}
    takes = inspect.signature(type(pipe).__call__).parameters
    return parameters[0] == "prompt" and needed <= set(parameters) and set(_EMBEDDINGS[:2]) <= set(takes)


def _read(pipe: Any, text: str) -> list[str]:
    """The pieces of `text`; one that fits stays unchanged, with all its spaces."""
    return [text] if _fits(pipe, text) else _pieces(pipe, text)


def _pieces(pipe: Any, text: str) -> list[str]:
    """`text` in pieces of whole words that fit a window; a word longer than a window is split between letters."""
    pieces, piece = [], ""
    for word in text.split():
        longer = f"{piece} {word}" if piece else word
        if _fits(pipe, longer):
            piece = longer
            continue
        if piece:
            pieces.append(piece)
        while not _fits(pipe, word):
            most = _longest_start(pipe, word)
            pieces.append(word[:most])
            word = word[most:]
        piece = word
    return [*pieces, piece] if piece or not pieces else pieces


def _longest_start(pipe: Any, text: str) -> int:
    """How many letters of a too long text fit a window, at least one."""
    lengths = range(2, len(text) + 1)
    return 1 + bisect.bisect_left(lengths, True, key=lambda length: not _fits(pipe, text[:length]))


def _cut(pipe: Any, text: str) -> str:
    """A note about the part of `text` that the pipeline does not read."""
    rest = text[_longest_start(pipe, text) :].strip()
    return f"{type(pipe).__name__} reads only the start of a prompt as long as {text[:40]!r}…; it does not read: {rest}"
