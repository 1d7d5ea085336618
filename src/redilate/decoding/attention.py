"""The mid block's attention over all latent pixels, with queries strip by strip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .layers import Normalised, parameters_of
from .strips import StoredStrips, recut

# Without a fused kernel torch stores the scores, queries × keys: at most so many at a time.
_SCORES = 2**29
# With one it does not; so many queries keep a GPU busy.
_FUSED_QUERIES = 2**16


def attend(kept: StoredStrips, attention: Any, width: int, pixels: int, pool: int = 1) -> Iterator[Tensor]:
    """An autoencoder's `Attention`: normalisation, self-attention over pixels, residual.

    Args:
        kept: its input, which is read and then emptied.
        attention: the diffusers module.
        width: of the activations.
        pixels: height × width.
        pool: keys and values are of the means over pool × pool pixels, at a pool²-th of the work. 1 is exact, and used
            if a side is not a multiple of `pool`.
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
    """How many queries to take together, with `scores` for each over all heads."""
    if keys.device.type == "cuda":
        from torch.backends import cuda

        # As many queries as keys: the choice of kernel depends only on types and widths.
        given = cuda.SDPAParams(keys, keys, values, None, 0.0, False, False)
        if cuda.can_use_flash_attention(given) or cuda.can_use_efficient_attention(given):
            return _FUSED_QUERIES
    return _SCORES // scores


def _pooled(strips: Iterable[Tensor], pool: int) -> Iterable[Tensor]:
    if pool == 1:
        return strips
    return (functional.avg_pool2d(strip, pool) for strip in recut(strips, 16 * pool))  # whole cells in each
