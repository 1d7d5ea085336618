"""A U-Net's self-attentions, found by what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ..plans.structure import block_of, count_levels, in_order, level_of

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


def self_attentions(root: nn.Module) -> dict[str, Attention]:
    """Every self-attention among the pixels of a feature map, by name: its keys are as many as its queries."""
    from diffusers.models.attention_processor import Attention

    return {
        name: module
        for name, module in root.named_modules()
        # Kandinsky's attention has the text among its keys.
        if isinstance(module, Attention)
        and not module.is_cross_attention
        and module.added_kv_proj_dim is None
    }


def windowable(unet: nn.Module) -> dict[str, tuple[nn.Module, int]]:
    """Name → (self-attention, its level), in order, for those whose tokens are the pixels of one map, not frames.

    The map of level l is a 2^l-th of the latents on each side, rounded up.
    """
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    names = [name for name, _ in unet.named_modules() if block_of(name)]
    levels = count_levels(names)
    found: dict[str, tuple[nn.Module, int]] = {
        f"{outer}.{inner}": (attention, level_of(outer, levels))
        for outer, transformer in unet.named_modules()
        if isinstance(transformer, Transformer2DModel) and block_of(outer)
        for inner, attention in self_attentions(transformer).items()
    }
    return in_order(found)
