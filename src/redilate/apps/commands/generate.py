"""`redilate generate`: draw a prompt at any size."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from redilate.errors import RedilateError
from redilate.rivals.registry import METHODS, find

from .. import files
from ..arguments import parse_size, usual_guidance
from ..console import one_line_endings, progress, say_warning
from ..metadata import check_prompts
from ..offload import offloading
from ..options import (
    SIZE,
    Device,
    Dtype,
    Guidance,
    Json,
    Model,
    Negative,
    Scheduler,
    Steps,
    Upscale,
    Windows,
    load_pipeline,
    upscaling,
)
from ..saving import save_picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import DiffusionPipeline
    from PIL.Image import Image

    from ..again import Asked
    from ..recorded import Recorded


def generate(
    context: typer.Context,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where the picture goes: .png, .jpg or .webp."),
    ],
    prompt: Annotated[
        str | None, typer.Argument(help="What to draw; with --from it may be left out.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PICTURE",
            help="Draw PICTURE again; options that are given replace what it says.",
        ),
    ] = None,
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
        Literal["auto", "single", "relay"],
        typer.Option(
            help="single: at full size from the first step; relay: at native size first, then enlarged; "
            "auto: whichever measures best."
        ),
    ] = "auto",
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of a relay: the native picture, as soon as it is there."),
    ] = None,
    steps: Steps = 25,
    guidance: Guidance = None,
    negative: Negative = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A plan to follow, as `redilate plan -o` writes it: in one stage, unless --mode relay asks for "
            "one, whose every large stage follows it.",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="How many pictures; they are numbered FILE-1, FILE-2 …")
    ] = 1,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Guidance one sample at a time: half the U-Net's memory.")
    ] = False,
    windows: Windows = None,
    upscaler: Upscale = None,
    scheduler: Scheduler = None,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Draw PROMPT at any size; the picture carries the settings that made it."""
    with one_line_endings():
        asked_size = (None, None) if size is None else parse_size(size)
        paths = files.numbered(output, count)
        previews = [] if preview is None else files.numbered(preview, count)
        for path in [*paths, *previews]:
            files.check_output(path, tuple(files.PICTURES))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            import redilate

            from ..again import Asked, again
            from ..provenance import provenance

            plan_read = None if plan is None else redilate.Plan.read(plan)
            relay = upscaling(upscaler)
            scale = usual_guidance(model) if guidance is None else guidance
            asked = Asked(
                prompt, *asked_size, seed, steps, scale, negative, method, plan_read, scheduler, model,
                device, dtype, mode, sequential, relay, windows,
            )  # fmt: skip
            recorded = None
            if source is not None:
                asked, recorded, replaced = again(source, asked, _given(context))
                if replaced:
                    say_warning(f"not {source} again: given here, {', '.join(replaced)}")
            if asked.mode == "auto" and (
                preview is not None or asked.method == "relay" or upscaler is not None
            ):
                asked = replace(asked, mode="relay")
            if asked.method == "relay" and asked.mode == "relay":  # its name in `redilate evaluate`
                asked = replace(asked, method="redilate")
            if asked.prompt is None:
                raise RedilateError("missing argument PROMPT: what to draw, or --from PICTURE")
            _check_method(asked, preview)
            check_prompts(files.PICTURES[output.suffix.lower()], asked.prompt, asked.negative)
            pipe = load_pipeline(
                asked.model, device=asked.device, dtype=asked.dtype, scheduler=asked.scheduler, quiet=as_json
            )
            made_by = provenance(pipe, asked.model)
            if recorded is not None:
                _warn(source, recorded, made_by)
            made = []
            with progress(Console(stderr=True, quiet=as_json)) as bars:
                for index, path in enumerate(paths):
                    # One at a time, each kept before the next: what is drawn when a long run ends is not lost.
                    draw = partial(
                        find(asked.method),
                        pipe,
                        asked.prompt,
                        **_size(asked, pipe),
                        seed=asked.seed + index,
                        steps=asked.steps,
                        guidance=asked.guidance,
                        negative=asked.negative,
                        on_step=lambda done, total, index=index: bars(index * total + done, count * total),
                        **_own(
                            asked,
                            on_preview=partial(save_picture, previews[index]) if previews else None,
                            on_decode=bars.on_decode,
                        ),
                    )
                    one = offloading(pipe, draw)
                    save_picture(path, one.images[0], one.settings | made_by)
                    made.append(one)
        settings, seconds = made[0].settings | made_by, sum(one.seconds for one in made)
        if as_json:
            images = [
                {"path": str(path), "seed": one.seeds[0]} for path, one in zip(paths, made, strict=True)
            ]
            print(json.dumps({"images": images, "seconds": round(seconds, 3), "settings": settings}))
        else:
            for path in paths:
                print(path)
            drawn = f"{settings['width']}x{settings['height']}"
            print(f"{drawn}, {asked.steps} steps, {seconds:.1f} s", file=sys.stderr)


def _check_method(asked: Asked, preview: Path | None) -> None:
    """Refuse an unknown method, and what only our own ones can do."""
    find(asked.method)
    if asked.plan is not None and asked.method != "redilate":
        raise RedilateError(
            f"a plan is for the method redilate, and {asked.method} uses none; leave one of them out"
        )
    if asked.method == "relay":
        raise RedilateError(f"the method relay is a relay, not {asked.mode}; leave one of them out")
    if asked.windows is not None and asked.method != "redilate":
        raise RedilateError(f"--windows is for the method redilate, not for {asked.method}")
    if asked.relay is not None and asked.mode == "single":
        raise RedilateError("--upscaler is for a relay, not for a single stage; leave one of them out")
    if asked.method not in ("redilate", "direct"):
        if asked.mode == "relay":
            raise RedilateError(f"a relay draws with the method redilate or direct, not with {asked.method}")
        if asked.sequential:
            raise RedilateError(
                f"--sequential is for the methods redilate and direct, not for {asked.method}"
            )
    if preview is not None and asked.mode != "relay":
        raise RedilateError("--preview shows a relay's native picture; --mode relay has one")


def _size(asked: Asked, pipe: DiffusionPipeline) -> dict[str, int]:
    from redilate.pipelines.native import native_size

    height, width = native_size(pipe)
    return {"width": asked.width or width, "height": asked.height or height}


def _own(
    asked: Asked,
    *,
    on_preview: Callable[[Image], None] | None,
    on_decode: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """What only our own methods take."""
    if asked.method not in ("redilate", "direct"):
        return {}
    return {
        "mode": asked.mode,
        "plan": asked.plan,
        "relay": asked.relay,
        "sequential": asked.sequential,
        "windows": asked.windows,
        "on_preview": on_preview,
        "on_decode": on_decode,
    }


def _given(context: typer.Context) -> set[str]:
    """The names of the options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _warn(source: Path | None, recorded: Recorded, made_by: dict[str, str]) -> None:
    """Say why the picture may not come out bit for bit, if there is a reason."""
    from redilate.generation.generate import versions

    from ..provenance import differences

    if found := differences(recorded, made_by, versions()):
        say_warning(f"{source} may not come out the same: {'; '.join(found)}")
