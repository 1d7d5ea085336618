"""The command `redilate`: `generate` draws, `plan` shows which convolutions would be dilated and how far.

torch and diffusers are imported inside the commands, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from . import files
from .arguments import check_device, model_name, parse_size, torch_dtype
from .console import REFUSED, one_line_endings, progress, say_error, silence_libraries
from .metadata import png_info

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL.Image import Image

app = typer.Typer(
    name="redilate",
    help="Pictures far larger than a diffusion U-Net was trained on, with no training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_SIZE = "Width and height in pixels, multiples of 8."
Model = Annotated[
    str | None,
    typer.Option(metavar="PATH_OR_HUB_ID", help="A diffusers pipeline; without it, the small bundled model."),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout, and nothing else.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps …; without it, a GPU if there is one.")
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    typer.Option(help="The weights' precision; without it, what the device runs best."),
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from redilate import __version__

        print(f"redilate {__version__}")
        raise typer.Exit


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where the picture goes: .png, .jpg or .webp."),
    ],
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help=f"{_SIZE} Without it, the model's native size.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="The first picture's seed; each further one adds 1.")
    ] = 0,
    model: Model = None,
    method: Annotated[
        Literal["redilate", "direct"], typer.Option(help="Re-dilated, or as the model would on its own.")
    ] = "redilate",
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 25,
    guidance: Annotated[float, typer.Option(min=0.0, help="Classifier-free guidance scale.")] = 5.0,
    negative: Annotated[str | None, typer.Option(help="What to keep away from.")] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A plan to follow, as `redilate plan -o` writes it.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="How many pictures; they are numbered FILE-1, FILE-2 …")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(help="euler, ddim, dpm++ … or a diffusers class name; without it, the model's own."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Draw PROMPT at any size; a PNG carries the settings that made it."""
    with one_line_endings():
        width, height = (None, None) if size is None else parse_size(size)
        paths = files.numbered(output, count)
        for path in paths:
            files.check_output(path, tuple(files.PICTURES))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            import redilate

            plan_read = None if plan is None else redilate.Plan.read(plan)
            pipe = _load(model, device=device, dtype=dtype, scheduler=scheduler, quiet=as_json)
            made = []
            with progress(Console(stderr=True, quiet=as_json)) as on_step:
                for index, path in enumerate(paths):
                    # One at a time, each kept before the next: what is drawn when a long run ends is not lost.
                    one = redilate.generate(
                        pipe,
                        prompt,
                        width=width,
                        height=height,
                        seed=seed + index,
                        steps=steps,
                        guidance=guidance,
                        negative=negative,
                        method=method,
                        plan=plan_read,
                        on_step=lambda done, total, index=index: on_step(index * total + done, count * total),
                    )
                    _save(path, one.images[0], one.settings | {"model": model_name(model)})
                    made.append(one)
        settings, seconds = made[0].settings | {"model": model_name(model)}, sum(one.seconds for one in made)
        if as_json:
            images = [
                {"path": str(path), "seed": one.seeds[0]} for path, one in zip(paths, made, strict=True)
            ]
            print(json.dumps({"images": images, "seconds": round(seconds, 3), "settings": settings}))
        else:
            for path in paths:
                print(path)
            drawn = f"{settings['width']}x{settings['height']}"
            print(f"{drawn}, {steps} steps, {seconds:.1f} s", file=sys.stderr)


@app.command()
def plan(
    size: Annotated[str, typer.Option(metavar="WxH", help=_SIZE)],
    model: Model = None,
    preset: Annotated[
        Literal["default", "published"], typer.Option(help="What measures best, or the paper's settings.")
    ] = "default",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also write the plan as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the plan for a model and a size: which convolutions are dilated, how far, until which noise level."""
    with one_line_endings():
        width, height = parse_size(size)
        if output is not None:
            files.check_output(output, (".json",))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            import redilate

            pipe = _load(model, device="cpu", quiet=as_json)
            made = redilate.plan_for(pipe, width=width, height=height, preset=preset)
        if output is not None:
            made.write(output)
        print(made.model_dump_json() if as_json else made)


def _load(
    model: str | None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    scheduler: str | None = None,
    quiet: bool = False,
) -> DiffusionPipeline:
    """The pipeline, with the scheduler asked for; whatever can be refused without its weights is refused first."""
    silence_libraries()
    from redilate.pipelines.loading import check_model, load
    from redilate.pipelines.schedulers import check_scheduler, use_scheduler

    check_model(model)
    check_device(device)
    if scheduler is not None:
        check_scheduler(scheduler)
    # A hub's downloads show bars of their own, which a spinner would tear.
    local = model is None or Path(model).exists()
    with Console(stderr=True, quiet=quiet or not local).status("loading the model"):
        pipe = load(model, device=device, dtype=torch_dtype(dtype))
    if scheduler is not None:
        use_scheduler(pipe, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _save(path: Path, image: Image, settings: dict[str, Any]) -> None:
    """Write one picture, with its settings where the format is PNG."""
    kind = files.PICTURES[path.suffix.lower()]
    extra = {"pnginfo": png_info(settings)} if kind == "PNG" else {}
    with files.replacing(path) as temporary:
        image.save(temporary, format=kind, **extra)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 1 failed on the way, 2 refused, 130 interrupted."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except typer.TyperException as error:
        # A usage error: Typer's own way of showing it is a box of several lines. Without a message it was no
        # arguments at all, and the help has been shown.
        if message := error.format_message():
            say_error(message)
        code = REFUSED
    sys.exit(code if isinstance(code, int) else 0)
