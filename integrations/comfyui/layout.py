"""The convolutions of ComfyUI's U-Net, found by structure and called as in diffusers, so that plans mean the same.

ComfyUI keeps Stable Diffusion's original layout: `input_blocks`, `middle_block`, `output_blocks`, each a sequence of
layers. A residual block holds its convolutions last in `in_layers` and `out_layers`; the other spatial convolutions
are a downsampler's `op` and an upsampler's `conv`, each of which ends a block of diffusers' counting.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from redilate.errors import RedilateError


def convolutions(unet: nn.Module) -> dict[str, nn.Conv2d]:
    """Every spatial convolution of a U-Net's blocks by the name that diffusers gives it, in a picture's order.

    Raises:
        RedilateError: for a model that is no such U-Net: a transformer (Flux, SD3, …) has no convolutions to re-dilate.
    """
    sides = [getattr(unet, name, None) for name in ("input_blocks", "middle_block", "output_blocks")]
    if not all(isinstance(side, nn.Module) for side in sides):
        raise RedilateError(
            f"{type(unet).__name__} is no U-Net: re-dilation acts on convolutions, which Stable Diffusion 1.5, 2.1, "
            "SDXL and their fine-tunes have; transformers (Flux, SD3, PixArt) have none"
        )
    down, middle, up = sides
    found = dict(_side("down_blocks.{}", down))
    found |= dict(_side("mid_block", [middle]))
    return found | dict(_side("up_blocks.{}", up))


def _side(block: str, sequences: nn.Module | list) -> Iterator[tuple[str, nn.Conv2d]]:
    """Number the residual blocks of one side; what changes the resolution ends a block."""
    number = resnet = 0
    for layer in (layer for sequence in sequences for layer in sequence):  # type: ignore[union-attr]
        name = block.format(number)
        if hasattr(layer, "in_layers") and hasattr(layer, "out_layers"):
            for which, layers in (("conv1", layer.in_layers), ("conv2", layer.out_layers)):
                yield f"{name}.resnets.{resnet}.{which}", _last_convolution(layers)
            resnet += 1
        elif (sampler := _sampler(layer)) is not None:
            kind, convolution = sampler
            yield f"{name}.{kind}.0.conv", convolution
            number, resnet = number + 1, 0


def _last_convolution(layers: nn.Sequential) -> nn.Conv2d:
    return next(layer for layer in reversed(layers) if isinstance(layer, nn.Conv2d))


def _sampler(layer: nn.Module) -> tuple[str, nn.Conv2d] | None:
    for attribute, kind in (("op", "downsamplers"), ("conv", "upsamplers")):
        convolution = getattr(layer, attribute, None)
        if isinstance(convolution, nn.Conv2d):
            return kind, convolution
    return None
