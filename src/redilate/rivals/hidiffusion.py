"""HiDiffusion: Zhang et al., "HiDiffusion: Unlocking Higher-Resolution Creativity and Efficiency in Pretrained
Diffusion Models", ECCV 2024, arXiv 2311.17528.

- RAU-Net. At high noise the outermost downsampler reduces its features further, by the ratio to the native size (its
  stride and dilation grow by it), so that the deeper blocks see their training size; the matching upsampler brings them
  back. From a ratio of 4 on the next level shares the reduction.
- MSW-MSA. The outermost self-attention has windows of half the width and height, with a shift that changes from step to
  step.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import nn

from ..core.conv import Pair
from ..core.patch import argument_of
from ..core.windows import exchange_attention, lay_out, restore_attention, set_layout
from ..errors import RedilateError
from ..pipelines.apply import noise_level_of
from ..pipelines.families import Size
from ..plans.plan import block_of, convolutions, count_resolution_levels, resolution_level
from .attention_scaling import self_attentions
from .installing import installing, native_latent_size

# T1 and T2 as shares of the denoising, below a ratio of 4 and from there on (the paper's appendix).
_SWITCHES = ((0.4, 0.0), (0.7, 0.3))
_SHIFTS = 4
Switches = tuple[float, float]
Trained = tuple[Pair, Pair, Pair]  # a convolution's stride, padding and dilation


def reductions(
    ratio: tuple[float, float], noise_level: float, levels: int, switches: Switches | None = None
) -> list[tuple[int, int]]:
    """How much further than in training each downsampler reduces its features, (height, width), outermost first.

    Args:
        ratio: the latents' side over the native side, per axis.
        noise_level: in [0, 1].
        levels: the U-Net's number of resolutions; it has one downsampler less.
        switches: T1 and T2, the shares of the denoising after which the outermost downsampler, and the next one,
            work as trained; None: as published.
    """
    extreme = max(ratio) >= 4 and levels > 2
    first_until, second_until = (1 - switch for switch in switches or _SWITCHES[extreme])
    axes = [max(1, math.floor(axis + 0.5)) for axis in ratio]
    outer = [2 if extreme and axis >= 4 else axis for axis in axes]
    inner = [max(1, math.floor(axis / taken + 0.5)) for axis, taken in zip(axes, outer, strict=True)]
    found = [(1, 1)] * (levels - 1)
    if found and noise_level > first_until:
        found[0] = (outer[0], outer[1])
    if len(found) > 1 and noise_level > second_until:
        found[1] = (inner[0], inner[1])
    return found


def reduce_further(conv: nn.Conv2d, trained: Trained, reduction: Pair) -> None:
    """Have `conv` reduce its features `reduction` (height, width) times further than as `trained`.

    From Conv(stride 2, dilation 1, padding 1) to Conv(stride 2α, dilation α, padding α) (section 3.2).
    """
    conv.stride, conv.padding, conv.dilation = (
        (height * reduction[0], width * reduction[1]) for height, width in trained
    )


@dataclass
class _State:
    """The current call: the downsamplers' reductions, and the windows' shift."""

    reductions: list[tuple[int, int]] = field(default_factory=list)
    shift: int = 0


@contextmanager
def hidiffusion(
    pipe: Any, *, switches: Switches | None = None, seed: int = 0, native_size: int | Size | None = None
) -> Iterator[None]:
    """Put RAU-Net and MSW-MSA on a pipeline's U-Net; no effect up to the native size.

    Args:
        pipe: a diffusers pipeline whose U-Net downsamples with convolutions (Stable Diffusion, SDXL).
        switches: as for `reductions`.
        seed: of the windows' shifts.
        native_size: as for `redilate.apply`.

    Raises:
        RedilateError: see `installing`; or for a U-Net with other samplers.
    """
    native = native_latent_size(pipe, native_size)
    level_at = noise_level_of(pipe)
    with installing(pipe, "hidiffusion") as (unet, stack):
        named = convolutions(unet)
        levels = count_resolution_levels(named)
        samplers = list(_samplers(unet, named, levels))
        attentions = _outermost_attentions(unet, levels)
        state, dice = _State(), random.Random(seed)

        def before(_: nn.Module, args: tuple, kwargs: dict) -> None:
            size = argument_of(args, kwargs, 0, "sample").shape[-2:]
            ratio = (size[0] / native[0], size[1] / native[1])
            noise_level = level_at(argument_of(args, kwargs, 1, "timestep"))
            state.reductions = reductions(ratio, noise_level, levels, switches)
            state.shift = dice.randrange(_SHIFTS)
            for (convs, _up), reduction in zip(samplers, state.reductions, strict=True):
                for conv, trained in convs:
                    reduce_further(conv, trained, reduction)

        stack.callback(unet.register_forward_pre_hook(before, with_kwargs=True).remove)
        for convs, up in samplers:
            for conv, trained in convs:
                stack.callback(reduce_further, conv, trained, (1, 1))
            _resize_back(stack, state, convs[0][0], up)
        for level, transformer in attentions:
            _look_through_windows(stack, state, native, level, transformer)
        yield


def _samplers(
    unet: nn.Module, named: dict[str, list[nn.Conv2d]], levels: int
) -> Iterator[tuple[list[tuple[nn.Conv2d, Any]], nn.Module]]:
    """For each level the downsampler's convolutions with their trained settings, and the upsampler back to it."""
    from diffusers.models.upsampling import Upsample2D

    modules = dict(unet.named_modules())
    for level in range(levels - 1):
        down = named.get(f"down_blocks.{level}.downsamplers.0.conv")
        up = modules.get(f"up_blocks.{levels - 2 - level}.upsamplers.0")
        if down is None or not isinstance(up, Upsample2D) or not isinstance(up.conv, nn.Module):
            raise RedilateError(
                f"{type(unet).__name__} does not sample with convolutions between its levels {level} and {level + 1}; "
                "HiDiffusion is for Stable Diffusion and SDXL"
            )
        yield [(conv, (conv.stride, conv.padding, conv.dilation)) for conv in down], up


def _resize_back(stack: ExitStack, state: _State, down: nn.Module, up: Any) -> None:
    """Have an upsampler return to the size on the way down: nearest by 2 as trained, then bicubic."""
    size: Size = (0, 0)

    def remember(_: nn.Module, args: tuple) -> None:
        nonlocal size
        size = (args[0].shape[-2], args[0].shape[-1])

    def double(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if all(reduction == (1, 1) for reduction in state.reductions):
            return None
        return (args[0], None), {}  # without the U-Net's `output_size` for halved features

    def stretch(_: nn.Module, args: tuple) -> tuple | None:
        if (args[0].shape[-2], args[0].shape[-1]) == size:
            return None
        return (F.interpolate(args[0], size=size, mode="bicubic", align_corners=False), *args[1:])

    stack.callback(down.register_forward_pre_hook(remember).remove)
    stack.callback(up.register_forward_pre_hook(double, with_kwargs=True).remove)
    stack.callback(up.conv.register_forward_pre_hook(stretch).remove)


def _outermost_attentions(unet: nn.Module, levels: int) -> list[tuple[int, nn.Module]]:
    """(level, transformer) for the transformers of the outermost level with any."""
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    found = [
        (resolution_level(name, levels), module)
        for name, module in unet.named_modules()
        if isinstance(module, Transformer2DModel) and block_of(name) not in ("", "mid_block")
    ]
    outermost = min((level for level, _ in found), default=0)
    return [(level, module) for level, module in found if level == outermost]


def window_of(size: Size, trained: Size) -> Size:
    """Half the feature map along an even axis that is longer than in training, else all of it."""
    height, width = (
        length // 2 if length > usual and length % 2 == 0 else length
        for length, usual in zip(size, trained, strict=True)
    )
    return height, width


def _look_through_windows(
    stack: ExitStack, state: _State, native: Size, level: int, transformer: nn.Module
) -> None:
    """Give the self-attentions of a transformer windows if its features are larger than in training."""
    trained = (math.ceil(native[0] / 2**level), math.ceil(native[1] / 2**level))
    attentions = list(self_attentions(transformer).values())

    def measure(_: nn.Module, args: tuple, kwargs: dict) -> None:
        features = argument_of(args, kwargs, 0, "hidden_states")
        size = (features.shape[-2], features.shape[-1])
        share = state.shift / _SHIFTS
        layout = lay_out(size, window_of(size, trained), (share, share), features.device)
        for attention in attentions:
            set_layout(attention, layout)

    stack.callback(transformer.register_forward_pre_hook(measure, with_kwargs=True).remove)
    for attention in attentions:
        stack.callback(restore_attention, attention)
        exchange_attention(attention)
