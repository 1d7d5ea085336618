"""Loading a pipeline by folder, single file or hub name (else the bundled model), with another autoencoder, LoRAs or a
ControlNet.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from ..core.devices import has_own_memory, is_out_of_memory, release
from ..errors import RedilateError
from .families import SUPPORTED, unet_of

Loaded = TypeVar("Loaded")

# owner/name; a bare word is taken for a missing folder.
HUB_NAME = re.compile(r"^[\w-][\w.-]*/[\w.-]+$")
_CHECKPOINTS = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}

BUNDLED = Path(__file__).parent.parent / "bundled" / "model"


def check_model(name_or_path: str | Path | None) -> None:
    """RedilateError, before anything is loaded, for a missing path and for a folder without a U-Net."""
    if name_or_path is None:
        if not (BUNDLED / "model_index.json").exists():
            raise RedilateError(
                "this installation lacks its bundled model; name one with a path or a hub name"
            )
        return
    path = Path(name_or_path)
    if path.is_dir():
        index = path / "model_index.json"
        if not index.exists():
            raise RedilateError(f"{path} is not a diffusers model: it has no model_index.json")
        try:
            parts = json.loads(index.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RedilateError(f"{index} is not JSON: {error}") from error
        if "unet" not in parts:
            kind = parts.get("_class_name", "its pipeline")
            raise RedilateError(
                f"{kind} has no diffusion U-Net: a transformer (Flux, SD3, PixArt) has no convolutions to re-dilate; "
                f"supported are {SUPPORTED}"
            )
    elif path.is_file():
        if path.suffix != ".safetensors":
            raise RedilateError(f"{path} is not a .safetensors file; pickled checkpoints are not loaded")
    elif path.suffix in _CHECKPOINTS or not HUB_NAME.match(str(name_or_path)):
        raise RedilateError(
            f"there is no model at {name_or_path}; a folder, a .safetensors file or a hub's owner/name works, "
            "and the bundled model is taken where none is named"
        )


def check_config(source: Path, config: Path) -> None:
    """RedilateError for a `config` that `source` does not need, or that is not a model."""
    if not source.is_file():
        raise RedilateError(
            "config= belongs to a checkpoint of a single file; a folder or a hub name has its own"
        )
    if not (config / "model_index.json").exists():
        raise RedilateError(
            f"{config} is not a diffusers model to take as config=: it has no model_index.json"
        )


def refusing(what: str, take: Callable[[], Loaded]) -> Loaded:
    """`take()`; RedilateError, in one line, if a loader raises."""
    from safetensors import SafetensorError

    try:
        return take()
    except RedilateError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise refused(what, error) from error


def refused(what: str, error: BaseException) -> RedilateError:
    """A loader's error in one line."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return RedilateError(f"cannot load {what}: {first}")


def dtype_argument(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The weights' type as an argument of diffusers' loaders: 0.40 renamed it, and warns about the old name."""
    import diffusers

    major, minor = map(int, diffusers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (0, 40) else "torch_dtype": dtype}


# Does not overflow in float16, unlike SDXL's own; the pictures look the same.
FP16_FIX = "madebyollin/sdxl-vae-fp16-fix"


def load_vae(name_or_path: str | Path, dtype: torch.dtype) -> Any:
    """An autoencoder from a folder, a `.safetensors` file or a hub name; "fp16-fix" for `FP16_FIX`.

    An AutoencoderKL; from a folder or hub name also an AutoencoderTiny. RedilateError for any other.
    """
    from diffusers import AutoencoderKL, AutoencoderTiny

    name = FP16_FIX if name_or_path == "fp16-fix" else str(name_or_path)
    check_addons(name_or_path, ())
    arguments: dict[str, Any] = dtype_argument(dtype)
    if Path(name).is_file():
        return refusing(f"the autoencoder {name}", lambda: AutoencoderKL.from_single_file(name, **arguments))

    def take() -> Any:
        said: Any = {} if name == FP16_FIX else AutoencoderKL.load_config(name)
        kind = said.get("_class_name", "AutoencoderKL")
        kinds = {one.__name__: one for one in (AutoencoderKL, AutoencoderTiny)}
        if kind not in kinds:
            raise RedilateError(
                f"the autoencoder {name} is an {kind}; {' and '.join(kinds)} work with these pipelines"
            )
        return kinds[kind].from_pretrained(name, use_safetensors=True, **arguments)

    return refusing(f"the autoencoder {name}", take)


def add_loras(pipe: Any, loras: Sequence[str | Path]) -> None:
    """Load LoRAs, each `FILE_OR_ID[:WEIGHT]`, into a pipeline and set all of them active.

    Raises:
        RedilateError: if one cannot be loaded, a weight is not a number, or peft is not installed.
    """
    asked = [split_weight(str(one)) for one in loras]
    check_addons(None, loras)
    if not asked:
        return
    if not hasattr(pipe, "load_lora_weights"):
        raise RedilateError(f"{type(pipe).__name__} takes no LoRA; Stable Diffusion and SDXL do")
    names = []
    for index, (name, _) in enumerate(asked):
        path = Path(name)
        where, file = (str(path.parent), {"weight_name": path.name}) if path.is_file() else (name, {})
        names.append(f"lora{index}")

        def take(where: str = where, file: dict[str, str] = file, adapter: str = names[-1]) -> None:
            pipe.load_lora_weights(where, adapter_name=adapter, use_safetensors=True, **file)

        refusing(f"the LoRA {name}", take)
        if not any(names[-1] in adapters for adapters in pipe.get_list_adapters().values()):
            raise RedilateError(
                f"the LoRA {name} has nothing for {type(pipe).__name__}: it is another model's"
            )
    pipe.set_adapters(names, [weight for _, weight in asked])


def split_weight(asked: str) -> tuple[str, float]:
    """`"style.safetensors:0.8"` → name and weight; the weight is 1 if there is none."""
    name, colon, said = asked.rpartition(":")
    if not colon or "/" in said or "\\" in said:  # C:\… has a colon, too
        return asked, 1.0
    try:
        weight = float(said)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise RedilateError(f"the LoRA {asked!r} has the weight {said!r}; a number such as 0.8 works")
    return name, weight


def check_addons(vae: str | Path | None, loras: Sequence[str | Path]) -> None:
    """RedilateError, before anything is loaded, for what is neither a folder, a `.safetensors` file nor a hub name; and
    for LoRAs without peft.
    """
    if vae not in (None, "fp16-fix"):
        _check("autoencoder", str(vae))
    for one in loras:
        _check("LoRA", split_weight(str(one))[0])
    if loras and find_spec("peft") is None:
        raise RedilateError("a LoRA needs peft: pip install peft")


def _check(what: str, name: str) -> None:
    path = Path(name)
    if path.is_dir():
        return
    if path.is_file():
        if path.suffix != ".safetensors":
            raise RedilateError(f"{name} is not a .safetensors file; pickled weights are not loaded")
        return
    if path.suffix == ".safetensors" or not HUB_NAME.match(name):
        raise RedilateError(
            f"there is no {what} at {name}; a folder, a .safetensors file or a hub's owner/name works"
        )


def with_controlnet(pipe: Any, name_or_path: str, *, image_to_image: bool = False) -> Any:
    """diffusers' ControlNet pipeline around the networks of `pipe`.

    Args:
        pipe: a text-to-image pipeline, which stays as it is.
        name_or_path: the ControlNet: a folder in diffusers' layout or a hub name; safetensors only.
        image_to_image: the pipeline for a large leg.

    Raises:
        RedilateError: if the ControlNet cannot be loaded or does not fit the pipeline.
    """
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image, ControlNetModel

    auto = AutoPipelineForImage2Image if image_to_image else AutoPipelineForText2Image
    name = str(Path(name_or_path).resolve()) if Path(name_or_path).exists() else name_or_path

    def take() -> Any:
        net: Any = ControlNetModel.from_pretrained(
            name, use_safetensors=True, **dtype_argument(pipe.unet.dtype)
        )
        return auto.from_pipe(pipe, controlnet=net.to(pipe.device))

    found = refusing(f"the ControlNet {name_or_path}", take)
    found.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return found


Offload = Literal["none", "model", "sequential"]

_HALF = "fp16"  # the usual name of the half-precision variant


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
        device: None: "cuda" or "mps" if there is one, else "cpu".
        config: for a single file, a folder of a model of its kind in diffusers' layout, from which configurations and
            tokenizers are taken; None: those of its base model, from the hub.
        variant: of a folder's or a hub's weight files, such as "fp16". None: "fp16" for half precision if there are
            such files, since the download is half as large, else the plain ones if there are such.
        vae: another autoencoder: a folder, a `.safetensors` file or a hub name; "fp16-fix" for a version of SDXL's that
            does not overflow in float16.
        lora: a LoRA's `.safetensors` file or hub name, or several, each with an optional weight as ":0.8" at its end.
        offload: "model": each network waits in the host's memory until it is needed; "sequential": each layer, far
            slower; "none": all are on the device; None: all are on the device, or as "model" if they do not fit.
        on_note: called with a line if they do not fit.

    Raises:
        RedilateError: if the model cannot be loaded or has no U-Net, or the device has no memory to offload.
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
    """A folder's or a hub's pipeline, in the first variant that exists."""
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
        # The error of the plain files tells more than that there is no variant either.
        raise refused(asked, plain) from plain


def _placed(pipe: Any, device: str, offload: Offload | None, on_note: Callable[[str], None]) -> Any:
    """The pipeline on the device, or under offload."""
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
    """Store kernels in channels-last order where convolutions are faster with it: on a CPU, and in half precision on a
    GPU.
    """
    if device.type != "cpu" and not (device.type == "cuda" and dtype.itemsize == 2):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # and no Conv3d, which has five axes
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last)


def default_device() -> str:
    """The best device of this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


_UNET = "model.diffusion_model.input_blocks."
_SECOND_ENCODER = "conditioner.embedders.1."
_REFINER = "conditioner.embedders.0.model."
_LORA = (".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", "lora_unet_")


def single_file_pipeline(
    path: Path, dtype: torch.dtype, config: str | Path | None, parts: dict[str, Any] | None = None
) -> Any:
    """The text-to-image pipeline in a `.safetensors` file; SDXL has a second text encoder.

    A file that declares v-prediction (by keys such as NoobAI-XL's) gets such a scheduler. The file's name becomes the
    model's, because native sizes are looked up by it.

    Args:
        path: the file.
        dtype: of the weights.
        config: as for `load`.
        parts: networks in place of the file's own, by the pipeline's names.

    Raises:
        RedilateError: for a transformer's checkpoint, a LoRA, an autoencoder alone or the SDXL refiner.
    """
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        keys = set(file.keys())
    _check_keys(path, keys)
    is_xl = any(key.startswith(_SECOND_ENCODER) for key in keys)
    kind = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
    source = {} if config is None else {"config": str(config), "local_files_only": True}
    try:
        pipe = kind.from_single_file(str(path), **dtype_argument(dtype), **source, **(parts or {}))
    except AttributeError as error:  # transformers 5.6 laid its text encoders out anew
        raise RedilateError(
            f"this diffusers cannot read single files with this transformers ({error}); a newer diffusers can"
        ) from error
    pipe.register_to_config(_name_or_path=path.name)
    if "v_pred" in keys:
        known = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in keys}
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **known)
    return pipe


def _check_keys(path: Path, keys: set[str]) -> None:
    if any(key.startswith(_REFINER) for key in keys):
        raise RedilateError(
            f"{path} is the SDXL refiner, which draws from pictures: load it with "
            "StableDiffusionXLImg2ImgPipeline.from_single_file and call redilate.apply on that"
        )
    if any(key.startswith(_UNET) for key in keys):
        return
    if any(part in key for key in keys for part in _LORA):
        raise RedilateError(
            f"{path} is a LoRA, not a model: load the model it belongs to, then pipe.load_lora_weights()"
        )
    raise RedilateError(
        f"{path} has no Stable Diffusion U-Net in the layout of single files (input_blocks, output_blocks); a "
        f"transformer (Flux, SD3, PixArt) has no convolutions to re-dilate; supported are {SUPPORTED}"
    )
