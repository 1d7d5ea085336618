"""What several commands take: their common options, and the pipeline that these name.

torch and diffusers are imported inside the functions, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from redilate.generation.upscalers import Upscaler

from .arguments import check_device, torch_dtype
from .console import say_warning, silence_libraries

if TYPE_CHECKING:
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
    Upscaler | None,
    typer.Option(
        "--upscaler",
        help="Enlarge with this network before the model draws on: for photographs, for drawings, and for drawings, "
        "fast. It needs the extra `upscale`.",
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
