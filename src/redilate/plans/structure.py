"""A U-Net's convolutions, found by where they stand and not from lists, so that pruned and unknown ones work too."""

from __future__ import annotations

import re
from typing import TypeVar

from torch import nn

_BLOCK = re.compile(r"^(down_blocks\.\d+|mid_block|up_blocks\.\d+)\.")
Found = TypeVar("Found")
_ADAPTER = re.compile(r"\.(base_layer|lora_A\.[^.]+)$")


def block_of(name: str) -> str:
    """The block that a module stands in: `down_blocks.1`, `mid_block`, `up_blocks.0`; empty for the root's own."""
    found = _BLOCK.match(name)
    return found[1] if found else ""


def convolutions(unet: nn.Module) -> dict[str, list[nn.Conv2d]]:
    """Every spatial convolution inside a block, by name, in the order in which a picture passes: down, mid, up.

    1×1 convolutions see one pixel at any dilation and are left out; so are `conv_in` and `conv_out`. A LoRA's base
    layer and down-projection stand under the name of the convolution that they replace.
    """
    found: dict[str, list[nn.Conv2d]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Conv2d) and block_of(name) and max(module.kernel_size) > 1:
            found.setdefault(_ADAPTER.sub("", name), []).append(module)
    return in_order(found)


def in_order(named: dict[str, Found]) -> dict[str, Found]:
    """What stands in blocks, by name, in the order in which a picture passes: down, mid, up."""
    # "down_blocks" < "mid_block" < "up_blocks": the sides sort as they follow one another.
    return dict(sorted(named.items(), key=lambda item: block_of(item[0]).split(".")[0]))


def count_levels(names: list[str] | dict[str, list[nn.Conv2d]]) -> int:
    """How many resolutions the U-Net works at: one per down block."""
    return 1 + max((int(block.split(".")[1]) for block in map(block_of, names) if "." in block), default=-1)


def level_of(name: str, levels: int) -> int:
    """The level of a module, 0 for the outermost (full latent size), levels − 1 for the mid block."""
    block = block_of(name)
    if block == "mid_block":
        return levels - 1
    side, index = block.split(".")
    return int(index) if side == "down_blocks" else levels - 1 - int(index)
