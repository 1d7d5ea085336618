"""What several commands take: their common options, and the pipeline that these name.

torch and diffusers are imported inside the functions, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from redilate.errors import RedilateError
from redilate.generation.upscalers import UPSCALERS

from .console import say_warning, silence_libraries

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

SIZE = "Width and height in pixels, multiples of 8."
Model = Annotated[
    str | None,
    typer.Option(metavar="PATH_OR_HUB_ID", help="A diffusers pipeline; without it, the small bundled model."),
]
Steps = Annotated[int, typer.Option(min=1, help="Denoising steps.")]
Guidance = Annotated[
    float | None,
    typer.Option(min=0.0, help="Classifier-free guidance scale; without it, the model family's usual one."),
]
Strength = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Where a large picture is finished from, as a noise level: low keeps the native picture, high invents; "
        "1 draws everything at full size. Without it, the model family's default.",
    ),
]
UsedPreset = Annotated[
    Literal["default", "published", "faithful"],
    typer.Option(
        "--preset",
        help="default; published: ScaleCrafter's settings, at full size; faithful: keeps to the native picture.",
    ),
]
Negative = Annotated[str | None, typer.Option(help="What to keep away from.")]
Scheduler = Annotated[
    str | None,
    typer.Option(help="euler, ddim, dpm++ … or a diffusers class name; without it, the model's own."),
]
Windows = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        metavar="LEVEL",
        help="Self-attention looks through windows below this noise level (0 to 1): faster on large pictures.",
    ),
]
Upscale = Annotated[
    str | None,
    typer.Option(
        "--upscaler",
        metavar="NETWORK",
        help="Enlarge with this network before the model draws on: "
        f"{', '.join(UPSCALERS)} (for photographs, for drawings, for drawings and fast; the extra `upscale`), or "
        "another's .safetensors file (spandrel).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout, and nothing else.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps …; without it, a GPU if there is one.")
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option(help="The weights' precision; without it, what the device runs best."),
]
Vae = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_HUB_ID",
        help="Another autoencoder; fp16-fix: SDXL's that is safe in float16, for half of the decode's memory.",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE_OR_ID[:WEIGHT]", help="A LoRA, with its weight if not 1; as often as wanted."),
]
OffloadTo = Annotated[
    Literal["none", "model", "sequential"] | None,
    typer.Option(
        "--offload",
        help="Networks (model) or layers (sequential) wait in the host's memory until they are needed; without it, "
        "networks do where they do not all fit the GPU.",
    ),
]


def load_pipeline(
    model: str | None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    scheduler: str | None = None,
    quiet: bool = False,
    vae: str | None = None,
    lora: list[str] | None = None,
    offload: Literal["none", "model", "sequential"] | None = None,
) -> DiffusionPipeline:
    """The pipeline, with the scheduler asked for; whatever can be refused without its weights is refused first."""
    silence_libraries()
    from redilate.pipelines.addons import check_addons
    from redilate.pipelines.loading import load
    from redilate.pipelines.names import check_model
    from redilate.pipelines.schedulers import check_scheduler_name, use_scheduler

    check_model(model)
    check_device(device)
    check_addons(vae, lora or ())
    if scheduler is not None:
        check_scheduler_name(scheduler)
    # A hub's downloads show bars of their own, which a spinner would tear.
    local = model is None or Path(model).exists()
    with Console(stderr=True, quiet=quiet or not local).status("loading the model"):
        pipe = load(
            model,
            device=device,
            dtype=torch_dtype(dtype),
            vae=vae,
            lora=lora or (),
            offload=offload,
            on_note=say_warning,
        )
    if scheduler is not None:
        use_scheduler(pipe, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def concepts() -> dict[str, list[str]]:
    """Each thing that the bundled model draws → its other names."""
    from redilate.pipelines.loading import BUNDLED

    return json.loads((BUNDLED / "concepts.json").read_text(encoding="utf-8"))


def advice(prompt: str) -> str | None:
    """What to say of a prompt that names nothing the bundled model knows; None where it does."""
    words = concepts()
    names = [*words, *(other for others in words.values() for other in others)]
    said = f" {' '.join(re.findall(r'[a-z]+', prompt.lower()))} "
    # In any order: "apple, red" is a red apple.
    if any(all(f" {word} " in said for word in name.split()) for name in names):
        return None
    return f"the bundled model knows nothing of {prompt!r} and draws something near; it knows: {', '.join(words)}"


def parse_size(text: str) -> tuple[int, int]:
    """`"1024x768"` → (1024, 768), width and height in pixels.

    Raises:
        RedilateError: not of the form WxH, or a side that is no positive multiple of 8.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", text)
    if match is None:
        raise RedilateError(f"size {text!r} is not of the form WxH; 1024x768, for example, works")
    width, height = int(match[1]), int(match[2])
    for name, side in (("width", width), ("height", height)):
        if side < 8 or side % 8:
            near = max(8, round(side / 8) * 8)
            raise RedilateError(f"size {text!r}: the {name} {side} is not a multiple of 8; {near} works")
    return width, height


def torch_dtype(name: str | None) -> torch.dtype | None:
    """`"float16"` → `torch.float16`; None stays None, which leaves the choice to the loader."""
    import torch

    return None if name is None else getattr(torch, name)


def check_device(name: str | None) -> None:
    """Make sure that torch knows the device and has it here; None, the loader's choice, always passes.

    Raises:
        RedilateError: unknown to torch, or not on this machine.
    """
    import torch

    if name is None:
        return
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    try:
        # Only trying tells for the rest: xpu, npu and other back-ends that plug into torch.
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RedilateError(
            f"device {name!r} is not to be had on this machine; {', '.join(here)} works"
        ) from error


def model_name(model: str | None) -> str:
    """What a picture's settings call the model: a hub id as it is, of a path the last part, as homes are private."""
    if model is None:
        return "bundled"
    return Path(model).resolve().name if Path(model).exists() else model


def lora_name(lora: str) -> str:
    """The same for a LoRA, with its weight if one is said."""
    from redilate.pipelines.addons import split_weight

    name, weight = split_weight(lora)
    return model_name(name) + (lora.removeprefix(name) if weight != 1 else "")
