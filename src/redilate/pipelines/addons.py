"""What goes into a pipeline beside its own weights: another autoencoder, LoRAs, a ControlNet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..errors import RedilateError
from .names import HUB_NAME, dtype_argument, refusing

# Safe in float16 where SDXL's own overflows, with pictures that differ by less than an eye sees.
FP16_FIX = "madebyollin/sdxl-vae-fp16-fix"


def load_vae(name_or_path: str | Path, dtype: torch.dtype) -> Any:
    """An autoencoder from a folder, a `.safetensors` file or a hub name; "fp16-fix" for `FP16_FIX`.

    A folder or hub name may hold an AutoencoderTiny, too; a file is an AutoencoderKL.

    Raises:
        RedilateError: if there is none.
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
    """Load LoRAs into a pipeline, each `FILE_OR_ID[:WEIGHT]`, and have all of them in force.

    Raises:
        RedilateError: if one cannot be loaded, a weight is no number, or peft is not installed.
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
    """`"style.safetensors:0.8"` → its name and weight, 1 where none is said."""
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
    """Refuse, before anything is loaded, what is neither a folder, a `.safetensors` file nor a hub's name.

    Raises:
        RedilateError: naming it; or peft, which LoRAs need, is not installed.
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
    """diffusers' own ControlNet pipeline around the networks of `pipe`.

    Args:
        pipe: a text-to-image pipeline, left as it is.
        name_or_path: the ControlNet: a folder in diffusers' layout or a hub name; safetensors only.
        image_to_image: the pipeline for a large leg, whose ControlNet is fed the enlarged picture.

    Raises:
        RedilateError: if there is no such ControlNet, or none fits the pipeline.
    """
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image, ControlNetModel

    auto = AutoPipelineForImage2Image if image_to_image else AutoPipelineForText2Image
    name = str(Path(name_or_path).resolve()) if Path(name_or_path).exists() else name_or_path
    try:
        net: Any = ControlNetModel.from_pretrained(name, use_safetensors=True, torch_dtype=pipe.unet.dtype)
        found = auto.from_pipe(pipe, controlnet=net.to(pipe.device))
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RedilateError(f"cannot use the ControlNet {name_or_path}: {first}") from error
    found.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return found
