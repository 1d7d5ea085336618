"""Bytes that a pipeline's networks take while they run, counted without computing anything.

The networks are built once more on torch's "meta" device, from their configurations, and run on tensors without data
(`core.footprint`): the figures follow from the structure, for any model, and no table is kept.
"""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ..core.footprint import peak_bytes
from ..core.geometry import is_neutral
from ..core.workspace import is_channels_last
from ..decoding.autoencoder import working_type
from ..decoding.decode import bytes_needed
from ..errors import RedilateError
from ..plans.plan import Plan, Windows
from .apply import apply
from .families import unet_of, unwrap

_TEXT_TOKENS = 77
_ONE_AT_A_TIME = threading.Lock()
# Noise levels at which a plan is looked at: those of the published steps, of which there are fifty.
_LEVELS = 50


def unet_bytes(
    pipe: Any,
    batch: int,
    rows: int,
    columns: int,
    device: torch.device,
    plan: Plan | None = None,
    noise: float = 1.0,
) -> int | None:
    """Activations of one U-Net call, the one of all noise levels that takes most.

    Args:
        pipe: its U-Net's structure, type and memory format count.
        batch: how many samples are evaluated together.
        rows, columns: of the latents.
        device: where it will run, as kernels differ; the pipeline itself may be anywhere.
        plan: what it is re-dilated by; None: as trained. Dilations that are not whole need more than whole ones.
        noise: the highest noise level in [0, 1] at which it is called.

    Returns:
        Bytes; None for a network whose inputs are not known.
    """
    unet = unwrap(unet_of(pipe))
    structure = *_structure(unet), _computing_type(unet), device.type
    needs = [_unet_bytes(*structure, batch, rows, columns, phase) for phase in _phases(plan, noise)]
    return max((size for size in needs if size is not None), default=None)


def decode_bytes(pipe: Any, rows: int, columns: int, device: torch.device) -> int | None:
    """Activations of the autoencoder's own decode of one picture; None where there is no AutoencoderKL."""
    vae: Any = getattr(pipe, "vae", None)
    if type(vae).__name__ != "AutoencoderKL":
        return None
    return _decoder_bytes(*_structure(vae), working_type(vae), device.type, rows, columns)


def strips_bytes(pipe: Any, rows: int, columns: int, device: torch.device) -> int | None:
    """The same for `redilate.decode`; None for an autoencoder that it cannot run."""
    vae: Any = getattr(pipe, "vae", None)
    if type(vae).__name__ != "AutoencoderKL":
        return None
    try:
        return bytes_needed(vae, rows, columns, device)
    except RedilateError:  # an autoencoder with other layers: its own decode is what there is
        return None


def _phases(plan: Plan | None, noise: float = 1.0) -> set[str | None]:
    """What a plan comes to at the noise levels from `noise` down, each as the JSON of a plan that holds at all levels.

    Only what makes a difference: a whole dilation takes what the plain convolution takes, so None stands for the
    network as trained and for one whose dilations are all whole. Nothing takes less: it stands alone or not at all.
    ND-CFG's mild network is one of them, as if it saw the whole batch.
    """
    if plan is None:
        return {None}
    found: set[str | None] = set()
    for step in range(_LEVELS + 1):
        level = min(noise, step / _LEVELS)
        windows = Windows(size=plan.window_sizes(level), below=1)
        for dilations in (plan.dilations(level), plan.mild_dilations(level) or {}):
            dearer = {
                name: factor
                for name, factor in dilations.items()
                if any(axis % 1 for axis in factor) or (name in plan.dispersed and not is_neutral(factor))
            }
            if not dearer and not windows.size:
                continue
            held = Plan(
                dilation=dearer,
                until=0,
                dispersed=plan.dispersed & dearer.keys(),
                dispersion=plan.dispersion,
                fractional=plan.fractional,
                by_channels=plan.by_channels & dearer.keys(),
                windows=windows,
            )
            found.add(held.model_dump_json())
    return found or {None}


def _computing_type(unet: Any) -> torch.dtype:
    """The type of a U-Net's activations, which quantised or narrowly stored weights do not have."""
    found = getattr(unet, "dtype", torch.float32)
    return found if found.is_floating_point else torch.float32


def _structure(network: Any) -> tuple[type, str, bool]:
    """A network's class, configuration and whether its kernels are channels last: what its activations depend on."""
    # How its weights are stored is none of that, nor can it be written as JSON.
    public = {
        key: value
        for key, value in network.config.items()
        if not key.startswith("_") and key != "quantization_config"
    }
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    last = any(is_channels_last(conv.weight) for conv in convolutions)
    return type(network), json.dumps(public, sort_keys=True), last


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _rebuilt(kind: Any, config: str, last: bool, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        # torch's own `to`: diffusers' warns of modules that a checkpoint keeps in float32.
        network: Any = nn.Module.to(kind.from_config(json.loads(config)), dtype).eval()
    return network.to(memory_format=torch.channels_last) if last else network


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # in it operations are seen whole, and the count would differ
def _decoder_bytes(
    kind: type, config: str, last: bool, dtype: torch.dtype, device: str, rows: int, columns: int
) -> int:
    vae = _rebuilt(kind, config, last, dtype)
    latents = torch.empty((1, vae.config.latent_channels, rows, columns), dtype=dtype, device="meta")
    return peak_bytes(lambda: vae.decode(latents), device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # in it operations are seen whole, and the count would differ
def _unet_bytes(
    kind: type,
    config: str,
    last: bool,
    dtype: torch.dtype,
    device: str,
    batch: int,
    rows: int,
    columns: int,
    plan: str | None,
) -> int | None:
    """`plan`: one of `_phases`."""
    if kind.__name__ != "UNet2DConditionModel":
        return None
    unet = _rebuilt(kind, config, last, dtype)
    conditions = _conditions(unet.config, batch, dtype)
    if conditions is None:
        return None
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)  # the network is kept, and the plan is on it for a while
        if plan is not None:
            stack.enter_context(apply(unet, Plan.model_validate_json(plan)))
        stack.enter_context(torch.device("meta"))
        latents = torch.empty((batch, unet.config.in_channels, rows, columns), dtype=dtype)
        # The timestep as a number: of a tensor without data a patch could not read the noise level.
        return peak_bytes(lambda: unet(latents, 0, **conditions), device)


def _conditions(config: Any, batch: int, dtype: torch.dtype) -> dict[str, Any] | None:
    """What a text-to-image U-Net takes beside latents and timestep; None for a kind that is not known."""
    if config.addition_embed_type not in (None, "text_time") or config.class_embed_type is not None:
        return None
    if config.encoder_hid_dim_type not in (None, "text_proj") or not isinstance(
        config.cross_attention_dim, int
    ):
        return None
    width = config.encoder_hid_dim or config.cross_attention_dim
    with torch.device("meta"):
        given: dict[str, Any] = {
            "encoder_hidden_states": torch.empty((batch, _TEXT_TOKENS, width), dtype=dtype)
        }
        if config.addition_embed_type == "text_time":
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            given["added_cond_kwargs"] = {
                "text_embeds": torch.empty((batch, pooled), dtype=dtype),
                "time_ids": torch.empty((batch, 6), dtype=dtype),
            }
    return given
