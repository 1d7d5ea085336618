"""`redilate generate`: draw a prompt at any size."""

from __future__ import annotations

import contextlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from redilate.errors import RedilateError
from redilate.rivals.registry import METHODS, find

from .. import files
from ..arguments import model_name, parse_size
from ..console import one_line_endings, progress
from ..options import SIZE, Device, Dtype, Json, Model, load_pipeline
from ..saving import save_picture


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
        str, typer.Option(metavar="NAME", help=f"How to draw large: {', '.join(METHODS)}.")
    ] = "redilate",
    mode: Annotated[
        Literal["single", "relay"],
        typer.Option(help="At full size from the first step, or at native size first and then enlarged."),
    ] = "single",
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of a relay: the native picture, as soon as it is there."),
    ] = None,
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
        draw = find(method)
        if plan is not None and method != "redilate":
            raise RedilateError(
                f"a plan is for the method redilate, and {method} uses none; leave one of them out"
            )
        asked = None if size is None else parse_size(size)
        paths = files.numbered(output, count)
        if mode == "relay" and method not in ("redilate", "direct"):
            raise RedilateError(f"a relay draws with the method redilate or direct, not with {method}")
        if preview is not None and mode != "relay":
            raise RedilateError("--preview shows a relay's native picture; --mode relay has one")
        previews = [] if preview is None else files.numbered(preview, count)
        for path in [*paths, *previews]:
            files.check_output(path, tuple(files.PICTURES))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            import redilate
            from redilate.pipelines.native import native_size

            planned: dict[str, Any] = {} if plan is None else {"plan": redilate.Plan.read(plan)}
            if mode == "relay":
                planned["mode"] = mode
            if sequential:
                planned["sequential"] = True
            pipe = load_pipeline(model, device=device, dtype=dtype, scheduler=scheduler, quiet=as_json)
            width, height = asked or native_size(pipe)[::-1]
            made = []
            with progress(Console(stderr=True, quiet=as_json)) as on_step:
                for index, path in enumerate(paths):
                    if previews:
                        planned["on_preview"] = partial(save_picture, previews[index])
                    # One at a time, each kept before the next: what is drawn when a long run ends is not lost.
                    one = draw(
                        pipe,
                        prompt,
                        width=width,
                        height=height,
                        seed=seed + index,
                        steps=steps,
                        guidance=guidance,
                        negative=negative,
                        on_step=lambda done, total, index=index: on_step(index * total + done, count * total),
                        **planned,
                    )
                    save_picture(path, one.images[0], one.settings | {"model": model_name(model)})
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
