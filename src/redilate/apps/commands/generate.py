"""`redilate generate`: draw a prompt at any size."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from .. import files
from ..arguments import model_name, parse_size
from ..console import one_line_endings, progress
from ..metadata import png_info
from ..options import SIZE, Device, Dtype, Json, Model, load_pipeline

if TYPE_CHECKING:
    from PIL.Image import Image


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where the picture goes: .png, .jpg or .webp."),
    ],
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help=f"{SIZE} Without it, the model's native size.")
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
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Guidance one sample at a time: half the U-Net's memory.")
    ] = False,
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
            pipe = load_pipeline(model, device=device, dtype=dtype, scheduler=scheduler, quiet=as_json)
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
                        sequential=sequential,
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


def _save(path: Path, image: Image, settings: dict[str, Any]) -> None:
    """Write one picture, with its settings where the format is PNG."""
    kind = files.PICTURES[path.suffix.lower()]
    extra = {"pnginfo": png_info(settings)} if kind == "PNG" else {}
    with files.replacing(path) as temporary:
        image.save(temporary, format=kind, **extra)
