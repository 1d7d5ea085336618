"""Attention scaling: Jin et al., "Training-free Diffusion Model Adaptation for Variable-Sized Text-to-Image
Synthesis", NeurIPS 2023, arXiv 2306.08645.

With N tokens in place of the T of training, the entropy of a softmax over them grows as log N. The paper keeps it by
replacing the factor 1/√d of self-attention with λ = √(log_T N / d) (section 3.3). Here the query is multiplied by
√(log_T N), which is the same for every attention processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..core.patch import argument_of
from ..errors import RedilateError
from ..pipelines import support
from ..pipelines.families import Size
from .installing import installing, native_latent_size


def scale_of_query(tokens: int, trained: float) -> float:
    """√(log_T N) for N `tokens` and T tokens in training; 1 if T or N is 1 or less."""
    return math.sqrt(math.log(tokens) / math.log(trained)) if tokens > 1 and trained > 1 else 1.0


@contextmanager
def attention_scaling(pipe: Any, *, native_size: int | Size | None = None) -> Iterator[None]:
    """Scale every self-attention of a pipeline's U-Net by the size of the latents.

    Raises:
        RedilateError: see `installing`; or if there is no self-attention, or its projections are fused.
    """
    native = native_latent_size(pipe, native_size)
    with installing(pipe, "attention_scaling") as (unet, stack):
        ratio = 1.0

        def measure(_: nn.Module, args: tuple, kwargs: dict) -> None:
            nonlocal ratio
            height, width = argument_of(args, kwargs, 0, "sample").shape[-2:]
            ratio = height * width / (native[0] * native[1])

        def scale(_: nn.Module, __: Any, query: Tensor) -> Tensor | None:
            tokens = query.shape[-2]
            return None if ratio == 1 else query * scale_of_query(tokens, tokens / ratio)

        stack.callback(unet.register_forward_pre_hook(measure, with_kwargs=True).remove)
        for attention in self_attentions(unet, fused=False).values():
            # The last module before the product with the keys.
            query = attention.to_q if attention.norm_q is None else attention.norm_q
            stack.callback(query.register_forward_hook(scale).remove)
        yield


def self_attentions(unet: nn.Module, *, fused: bool = True) -> dict[str, Any]:
    """`pipelines.support.self_attentions`; RedilateError for a U-Net without any, or with fused projections unless
    `fused`.
    """
    found = support.self_attentions(unet)
    if not found:
        raise RedilateError(f"{type(unet).__name__} has no self-attention of its own; use another method")
    for name, module in found.items():
        if module.fused_projections and not fused:
            raise RedilateError(f"{name}'s projections are fused; call pipe.unfuse_qkv_projections() first")
    return dict(found)
