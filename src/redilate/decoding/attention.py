"""The mid block's attention over all pixels of the latents, with queries strip by strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .layers import Normalised, parameters_of
from .strips import StoredStrips, recut

# Where no fused kernel fits, torch writes the scores out: queries × keys, at most so many at a time.
_SCORES = 2**29
# A fused one never does; a GPU is busy with so many queries.
_FUSED_QUERIES = 2**16


def attend(kept: StoredStrips, attention: Any, width: int, pixels: int, pool: int = 1) -> Iterator[Tensor]:
    """A diffusers `Attention` as autoencoders have it: one normalisation, self-attention over pixels, a residual.

    Args:
        kept: its input, which is read and then drained.
        attention: the module.
        width: of the activations.
        pixels: height × width.
        pool: keys and values are those of the means over cells of pool × pool pixels, which is the same where the
            pixels of a cell are alike, at a pool²-th of the work; 1 is exact, and what sides that no whole cells fill
            are given.
    """
    if width % pool or pixels // width % pool:
        pool = 1
    normalised = Normalised(attention.group_norm, kept.statistics)

    def projected(strip: Tensor, layer: Any) -> Tensor:
        weight, bias = parameters_of(layer, strip)
        return functional.linear(strip.permute(0, 2, 3, 1).flatten(1, 2), weight, bias)

    def heads(tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (attention.heads, -1)).transpose(1, 2)

    pairs = [
        (projected(strip, attention.to_k), projected(strip, attention.to_v))
        for strip in _pooled(normalised(kept.read()), pool)
    ]
    keys, values = (heads(torch.cat(parts, 1)) for parts in zip(*pairs, strict=True))
    del pairs
    rows = max(1, _queries_at_once(keys, values, pixels * attention.heads) // width)
    for strip in recut(kept.drain(), rows):
        normal = next(normalised([strip]))
        queries = heads(projected(normal, attention.to_q))
        found = functional.scaled_dot_product_attention(queries, keys, values, scale=attention.scale)
        weight, bias = parameters_of(attention.to_out[0], found)
        out = functional.linear(found.transpose(1, 2).flatten(2), weight, bias)
        out = out.unflatten(1, (strip.shape[2], width)).permute(0, 3, 1, 2)
        if attention.residual_connection:
            out = out + strip
        yield out / attention.rescale_output_factor


def _queries_at_once(keys: Tensor, values: Tensor, scores: int) -> int:
    """How many queries to take together, of which each has `scores` over all heads."""
    if keys.device.type == "cuda":
        from torch.backends import cuda

        # As many queries as keys: what a kernel can do depends on types and widths.
        given = cuda.SDPAParams(keys, keys, values, None, 0.0, False, False)
        if cuda.can_use_flash_attention(given) or cuda.can_use_efficient_attention(given):
            return _FUSED_QUERIES
    return _SCORES // scores


def _pooled(strips: Iterable[Tensor], pool: int) -> Iterable[Tensor]:
    if pool == 1:
        return strips
    return (functional.avg_pool2d(strip, pool) for strip in recut(strips, 16 * pool))  # whole cells in each
