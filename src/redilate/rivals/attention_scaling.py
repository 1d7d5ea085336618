"""Attention scaling: Jin et al., "Training-free Diffusion Model Adaptation for Variable-Sized Text-to-Image
Synthesis", NeurIPS 2023, arXiv 2306.08645.

With N tokens in place of the T of training, the entropy of a softmax over them grows as log N. The paper keeps it by
replacing the factor 1/√d of self-attention with

    λ = √(log_T N / d)                                                             (section 3.3)

Here the query is multiplied by √(log_T N), which is the same for every attention processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..core.patch import argument_of
from ..errors import RedilateError
from ..generation.run import Generation
from ..pipelines import support
from ..pipelines.families import Size
from .installing import draw_within, installing, native_latent_size

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

NAME = "attention_scaling"


def scale_of_query(tokens: int, trained: float) -> float:
    """√(log_T N) for N `tokens` and T tokens in training; 1 where T is too small for a logarithm to that base."""
    return math.sqrt(math.log(tokens) / math.log(trained)) if tokens > 1 and trained > 1 else 1.0


@contextmanager
def attention_scaling(pipe: Any, *, native_size: int | Size | None = None) -> Iterator[None]:
    """Scale every self-attention of a pipeline's U-Net for the size of the latents that arrive.

    Args:
        pipe: any diffusers pipeline with a `unet` that has self-attention.
        native_size: as for `redilate.apply`.

    Raises:
        RedilateError: see `installing`; or if there is no self-attention, or its projections are fused.
    """
    native = native_latent_size(pipe, native_size)
    with installing(pipe, NAME) as (unet, stack):
        queries = [_query(module) for module in unfused_self_attentions(unet).values()]
        ratio = 1.0

        def measure(_: nn.Module, args: tuple, kwargs: dict) -> None:
            nonlocal ratio
            height, width = argument_of(args, kwargs, 0, "sample").shape[-2:]
            ratio = height * width / (native[0] * native[1])

        def scale(_: nn.Module, __: Any, query: Tensor) -> Tensor | None:
            tokens = query.shape[-2]
            return None if ratio == 1 else query * scale_of_query(tokens, tokens / ratio)

        stack.callback(unet.register_forward_pre_hook(measure, with_kwargs=True).remove)
        for module in queries:
            stack.callback(module.register_forward_hook(scale).remove)
        yield


def self_attentions(unet: nn.Module) -> dict[str, Attention]:
    """Every self-attention of a U-Net, `pipelines.support.self_attentions`.

    Raises:
        RedilateError: for a U-Net without any.
    """
    found = support.self_attentions(unet)
    if not found:
        raise RedilateError(f"{type(unet).__name__} has no self-attention of its own; use another method")
    return found


def unfused_self_attentions(unet: nn.Module) -> dict[str, Any]:
    """`self_attentions`, whose queries and keys are made by modules of their own: `to_q` and `to_k`.

    Raises:
        RedilateError: for a U-Net without any, or with fused projections.
    """
    found = self_attentions(unet)
    for name, module in found.items():
        if module.fused_projections:
            raise RedilateError(f"{name}'s projections are fused; call pipe.unfuse_qkv_projections() first")
    return dict(found)


def draw(pipe: Any, prompt: str, *, native_size: int | Size | None = None, **arguments: Any) -> Generation:
    """One picture with attention scaling; the other arguments are `generation.generate`'s."""
    context = attention_scaling(pipe, native_size=native_size)
    return draw_within(context, NAME, {}, pipe, prompt, native_size=native_size, **arguments)


def _query(attention: Any) -> nn.Module:
    """The last module that a query passes before the product with the keys."""
    return attention.to_q if attention.norm_q is None else attention.norm_q
