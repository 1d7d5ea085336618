"""Which layers can be changed: self-attentions by what they are, and what re-dilation cannot reach, by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import RedilateError
from ..plans.structure import block_of, convolutions, count_levels, in_order, level_of

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


# diffusers' own caches are hooks from files called like this.
_CACHE_FILES = re.compile(r"\.(\w+_cache|taylorseer_cache|pyramid_attention_broadcast)$")


def redilatable(root: nn.Module) -> dict[str, list[nn.Conv2d]]:
    """Every convolution of `root` that a plan may name, as `plans.structure.convolutions`, having checked the root.

    Raises:
        RedilateError: for a network without any, or with one of: convolutions that do not compute through
            `_conv_forward` (quantised ones), DoRA and other adapters on convolutions that compute for themselves,
            caches that skip parts of the network.
    """
    found = convolutions(root)
    if not found:
        raise RedilateError(f"{type(root).__name__} has no spatial convolutions in its blocks to re-dilate")
    for name, module in root.named_modules():
        if reason := _cached(module) or (_out_of_reach(module) if block_of(name) else None):
            where = f"{type(root).__name__}'s {name}" if name else type(root).__name__
            raise RedilateError(f"{where} cannot be re-dilated: {reason}")
    return found


def _cached(module: nn.Module) -> str | None:
    """Why a cache stands in the way, if one does: what it has kept comes from another dilation or evaluation."""
    registry = module.__dict__.get("_diffusers_hook")
    for label, hook in getattr(registry, "hooks", {}).items():
        if _CACHE_FILES.search(type(hook).__module__):
            return f"the cache {label!r} is at work on it; disable the cache first"
    forward = module.__dict__.get("forward")
    if forward is None or registry is not None or _computes_the_same(module, forward):
        return None
    return "its forward has been replaced, as DeepCache and other caches do; disable that first"


def _computes_the_same(module: nn.Module, forward: Any) -> bool:
    """Whether a forward of the instance's own only wraps its class's: accelerate's hooks and torch.compile do."""
    if getattr(forward, "__func__", None) is type(module).forward or hasattr(
        forward, "_torchdynamo_orig_callable"
    ):
        return True
    wrapper = getattr(forward, "func", None)  # of a functools.partial
    if not getattr(wrapper, "__module__", "").startswith("accelerate."):
        return False
    return _computes_the_same(module, getattr(module, "_old_forward", None))


def _out_of_reach(module: nn.Module) -> str | None:
    """Why a module's convolution would go on as trained, if it would."""
    if isinstance(module, nn.Conv2d):
        return _quantised(module) if max(module.kernel_size) > 1 else None
    inner = getattr(module, "base_layer", None)
    if isinstance(inner, nn.Conv2d) and max(inner.kernel_size) > 1:
        return _adapter(module)
    kernel = getattr(module, "kernel_size", None)
    if isinstance(kernel, tuple) and len(kernel) == 2 and max(kernel) > 1 and hasattr(module, "weight"):
        return f"it is a {_full_name(module)}, a quantised convolution; dequantise it"
    return None


def _quantised(conv: nn.Conv2d) -> str | None:
    forward = type(conv).forward
    # A library's own subclass is reached only if its forward still ends in `_conv_forward`.
    if not {"_conv_forward", "forward"} & set(forward.__code__.co_names) and forward is not nn.Conv2d.forward:
        return f"it is a {_full_name(conv)}, which computes for itself"
    weight = type(conv.weight.data)
    if weight is not torch.Tensor:
        return f"its weight is a {weight.__module__}.{weight.__qualname__}, a quantised one; dequantise it"
    return None


def _adapter(layer: nn.Module) -> str | None:
    if getattr(layer, "merged", False) or getattr(layer, "disable_adapters", False):
        return None  # only the base layer computes
    if len(getattr(layer, "lora_magnitude_vector", ())):
        return "a DoRA adapter computes the convolution for itself; merge it with fuse_lora() or remove it"
    if not hasattr(layer, "lora_A"):
        return f"the adapter {_full_name(layer)} computes the convolution for itself; merge or remove it"
    return None


def _full_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


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
