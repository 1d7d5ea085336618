"""Loading a pipeline by folder, single file or hub name; the bundled model when there is no name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ..core.devices import has_own_memory, is_out_of_memory, release
from ..errors import RedilateError
from .addons import add_loras, load_vae
from .families import unet_of
from .names import BUNDLED, check_config, check_model, dtype_argument, refused, refusing
from .single_file import single_file_pipeline

Offload = Literal["none", "model", "sequential"]

_HALF = "fp16"  # what hubs call the variant of half precision


def load(
    name_or_path: str | Path | None = None,
    *,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    config: str | Path | None = None,
    variant: str | None = None,
    vae: str | Path | None = None,
    lora: str | Path | Sequence[str | Path] = (),
    offload: Offload | None = None,
    on_note: Callable[[str], None] = warnings.warn,
) -> Any:
    """Load a text-to-image pipeline, from safetensors only.

    Args:
        name_or_path: a folder in diffusers' layout, a single `.safetensors` checkpoint, a hub name, or None for the
            small model that comes with Redilate (256×256, shaded emoji).
        dtype: of the weights; None: float16 on an accelerator, float32 on a CPU.
        device: where to; None: "cuda" or "mps" where there is one, else "cpu".
        config: for a single file, the folder of a model of its kind in diffusers' layout, whose configurations and
            tokenizers it takes, as the file has none; None: those of its base model, from the hub.
        variant: of a folder's or a hub's weight files, such as "fp16"; None: "fp16" first where `dtype` is half, which
            is half of the download, else the plain ones first; the other where there are no such files.
        vae: another autoencoder: a folder, a `.safetensors` file or a hub name; "fp16-fix" for SDXL's that is safe in
            float16, so that it need not be decoded in float32.
        lora: a LoRA's `.safetensors` file or hub name, or several; with ":0.8" behind it, that weight.
        offload: "model": each network waits in the host's memory until it is needed; "sequential": each layer, far
            slower; "none": all are on the device; None: as "none", and as "model" where they do not fit.
        on_note: called with a line where they do not.

    Raises:
        RedilateError: if nothing can be loaded under a name, or the model has no U-Net, or offload has no device.
    """
    check_model(name_or_path)
    device = device or default_device()
    dtype = dtype or (torch.float32 if device == "cpu" else torch.float16)
    if offload in ("model", "sequential") and not has_own_memory(torch.device(device)):
        raise RedilateError(
            f"offload {offload!r} keeps networks out of a GPU's memory, and {device} has none of its own; leave it out"
        )
    source = Path(name_or_path) if name_or_path is not None else BUNDLED
    if config is not None:
        check_config(source, Path(config))
    parts = {} if vae is None else {"vae": load_vae(vae, dtype)}
    asked = f"the model {name_or_path or 'bundled with Redilate'}"
    if source.is_file():
        if variant is not None:
            raise RedilateError("variant= belongs to a folder or a hub name; a single file has no variants")
        pipe = refusing(asked, lambda: single_file_pipeline(source, dtype, config, parts))
    else:
        name = str(source) if source.exists() else str(name_or_path)
        pipe = _pretrained(asked, name, dtype, variant, parts)
    add_loras(pipe, [lora] if isinstance(lora, str | Path) else lora)
    _channels_last(unet_of(pipe), torch.device(device), dtype)
    if torch.device(device).type == "cpu" and getattr(pipe, "vae", None) is not None:
        _channels_last(
            pipe.vae, torch.device(device), dtype
        )  # on a GPU it may be computed in float32 after all
    return _placed(pipe, device, offload, on_note)


def _pretrained(asked: str, name: str, dtype: torch.dtype, variant: str | None, parts: dict[str, Any]) -> Any:
    """A folder's or a hub's pipeline, in the first variant that it has."""
    from diffusers import DiffusionPipeline

    def take(one: str | None) -> Any:
        return DiffusionPipeline.from_pretrained(
            name, use_safetensors=True, variant=one, **dtype_argument(dtype), **parts
        )

    if variant is not None:
        return refusing(asked, lambda: take(variant))
    first, second = (_HALF, None) if dtype.itemsize == 2 else (None, _HALF)
    try:
        return take(first)
    except (OSError, ValueError) as error:
        plain = error
    try:
        return refusing(asked, lambda: take(second))
    except RedilateError:
        if first is not None:
            raise
        # What the plain files lack is what somebody should know, and not that there is no variant either.
        raise refused(asked, plain) from plain


def _placed(pipe: Any, device: str, offload: Offload | None, on_note: Callable[[str], None]) -> Any:
    """The pipeline on the device, or its networks on their way there when they are needed."""
    if offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
        return pipe
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
        return pipe
    try:
        return pipe.to(device)
    except Exception as error:
        if offload == "none" or not has_own_memory(torch.device(device)) or not is_out_of_memory(error):
            raise
    release(torch.device(device))
    on_note(
        f"the networks do not fit into {device}'s memory together: each waits in the host's until it is needed"
    )
    pipe.enable_model_cpu_offload(device=device)
    return pipe


def _channels_last(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Keep the kernels as the device's convolutions want them, which spares their copies of all features.

    A CPU's in every type; a GPU's tensor cores in half precision.
    """
    if device.type != "cpu" and not (device.type == "cuda" and dtype.itemsize == 2):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # and no Conv3d, which has five axes
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last)


def default_device() -> str:
    """The best device here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
