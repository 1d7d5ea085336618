"""FouriScale: Huang et al., "FouriScale: A Frequency Perspective on Training-Free High-Resolution Image Synthesis",
ECCV 2024, arXiv 2403.12963.

- A convolution of the deeper blocks becomes F⁻¹(H ⊙ F(h)) ⊛ Φ_r(k): the features are low-passed as for subsampling by
  r, then convolved with the kernel dilated by r. For another shape the features are first padded to r times the trained
  size, with one r for both axes, and cropped afterwards.
- FouriScale guidance: a third estimate ε̂(x, c), with a gentler filter, has the queries and keys of its self-attention
  from ε̃(x, c), and the guidance is ε̃(x, ∅) + w (ε̂(x, c) − ε̃(x, ∅)).
- r decays to 1 at the later steps; then the network runs as trained.

The third estimate is a third part of the batch, added before the U-Net and removed after it, so that the pipeline's own
guidance does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..core.band_limit import low_pass
from ..core.conv import exchange, restore, set_dilation
from ..core.patch import argument_of, sample_of, with_sample
from ..core.schedule import level_after
from ..errors import RedilateError
from ..pipelines.apply import guidance_of, noise_level_of
from ..pipelines.families import Size
from ..pipelines.support import redilatable
from ..plans.plan import block_of, count_resolution_levels, resolution_level
from .attention_scaling import self_attentions
from .installing import installing, native_latent_size

# Published settings below a ratio of 4, and from 4 on: (of fifty steps those with the full dilation, the last dilated
# one).
_STEPS = ((10, 30), (20, 35))

Levels = Literal["published", "inner", "all"]
Fall = tuple[float, float]


def dilation_at(ratio: int, noise_level: float, fall: Fall | None = None) -> float:
    """The dilation at a noise level: r, then linearly down to 1.

    Args:
        fall: the noise levels in [0, 1] at which it begins to fall and reaches 1; None: as published.
    """
    full, end = fall or (level_after(steps) for steps in _STEPS[ratio >= 4])
    if noise_level <= end:
        return 1.0
    return 1 + (ratio - 1) * (min(1.0, (noise_level - end) / (full - end)) if full > end else 1.0)


def dilated_names(names: list[str], which: Levels = "published") -> list[str]:
    """The dilated convolutions: of all levels, of all inner ones, or the published ones (the mid block, the lower
    half of the encoder, all but the outermost level of the decoder).
    """
    levels = count_resolution_levels(names)

    def outermost(name: str) -> float:
        if which == "published" and block_of(name).startswith("down"):
            return levels / 2
        return 0 if which == "all" else 1

    return [name for name in names if resolution_level(name, levels) >= outermost(name)]


@dataclass
class _State:
    """The current call."""

    latents: Size = (0, 0)
    ratio: int = 1
    dilation: float = 1.0
    parts: int = 1  # of the batch, with the third estimate

    @property
    def at_work(self) -> bool:
        return self.dilation > 1


@contextmanager
def fouriscale(
    pipe: Any,
    *,
    floor: float | None = None,
    levels: Levels = "published",
    fall: Fall | None = None,
    native_size: int | Size | None = None,
) -> Iterator[None]:
    """Put FouriScale and its guidance on a pipeline's U-Net; no effect up to the native size.

    Args:
        pipe: any diffusers pipeline whose U-Net can be re-dilated, with guidance on [∅, c] or without guidance.
        floor: the filters' gain at the highest frequencies, in [0, 1]; None: as published, 0.6 for SDXL and models like
            it, 0 for others.
        levels: which convolutions are dilated, see `dilated_names`.
        fall: as for `dilation_at`.
        native_size: as for `redilate.apply`.

    Raises:
        RedilateError: see `installing` and `pipelines.support.redilatable`; or for a floor out of range.
    """
    if floor is not None and not 0 <= floor <= 1:
        raise RedilateError(f"floor is a share in [0, 1], not {floor}")
    if levels not in get_args(Levels):
        raise RedilateError(f"unknown levels {levels!r}; known: {', '.join(get_args(Levels))}")
    native = native_latent_size(pipe, native_size)
    level_at, layout_now = noise_level_of(pipe), guidance_of()
    with installing(pipe, "fouriscale") as (unet, stack):
        kept = floor_of(unet) if floor is None else floor
        named = redilatable(unet)
        convs = [(name, conv) for name in dilated_names(list(named), levels) for conv in named[name]]
        state = _State()

        def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
            sample = argument_of(args, kwargs, 0, "sample")
            state.latents = (sample.shape[-2], sample.shape[-1])
            state.ratio = max(
                math.ceil(size / usual) for size, usual in zip(state.latents, native, strict=True)
            )
            noise_level = level_at(argument_of(args, kwargs, 1, "timestep"))
            state.dilation = dilation_at(state.ratio, noise_level, fall)
            whole = float(math.ceil(state.dilation))
            for _name, conv in convs:
                set_dilation(conv, (whole, whole))
            if not state.at_work:
                return None
            layout = layout_now()
            chunks = 1 if layout is None else layout.chunks
            if layout is not None and (chunks, layout.unconditional) != (2, 0):
                raise RedilateError(
                    "fouriscale is for batches of [∅, c], and this pipeline guides with another"
                )
            state.parts = chunks + 1
            batch = sample.shape[0]

            def grow(tensor: Tensor) -> Tensor:
                """[∅, c] → [∅, c, c], or [c] → [c, c], if the first axis is the batch."""
                if tensor.dim() == 0 or tensor.shape[0] != batch:
                    return tensor
                return torch.cat([tensor, tensor[batch - batch // chunks :]])

            return tree_map_only(Tensor, grow, (args, kwargs))

        def without_strong(_: nn.Module, __: tuple, output: Any) -> Any:
            """[∅, c, ĉ] → [∅, ĉ], or [c, ĉ] → [ĉ]."""
            if not state.at_work:
                return None
            *others, _strong, gentle = sample_of(output).chunk(state.parts)
            return with_sample(output, torch.cat([*others, gentle]))

        def as_strong(_: nn.Module, __: tuple, output: Tensor) -> Tensor | None:
            """Queries or keys with those of ĉ replaced by those of c."""
            if not state.at_work:
                return None
            *others, _gentle = output.chunk(state.parts)
            return torch.cat([*others, others[-1]])

        def filtered(conv: Any, args: tuple) -> tuple | None:
            """The low-passed input of a dilated convolution, ĉ behind the gentle filter."""
            if not state.at_work:
                return None
            features = args[0]
            height, width = (
                max(side, state.ratio * math.ceil(side * usual / latents))
                for side, usual, latents in zip(features.shape[-2:], native, state.latents, strict=True)
            )
            # The network was trained with what the stride itself aliases.
            down, right = (max(1.0, state.dilation / stride) for stride in conv.stride)
            part = features.shape[0] // state.parts
            strong = low_pass(features[:-part], (down, right), (height, width), floor=kept)
            gentle = low_pass(features[-part:], (down, right), (height, width), gentle=True, floor=kept)
            return (torch.cat([strong, gentle]), *args[1:])

        stack.callback(unet.register_forward_pre_hook(before, with_kwargs=True).remove)
        stack.callback(unet.register_forward_hook(without_strong).remove)
        for name, conv in convs:
            stack.callback(restore, conv)
            exchange(conv, None, "taps")
            if "upsamplers" not in name:  # after an enlargement there are no high frequencies
                stack.callback(conv.register_forward_pre_hook(filtered).remove)
        for attention in self_attentions(unet, fused=False).values():
            for projection in (attention.to_q, attention.to_k):
                stack.callback(projection.register_forward_hook(as_strong).remove)
        yield


def floor_of(unet: nn.Module) -> float:
    """The published `floor` for a U-Net; SDXL is recognised by its conditioning."""
    return 0.6 if getattr(unet.config, "addition_embed_type", None) == "text_time" else 0.0
