"""`redilate enlarge`: a larger version of a picture."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from typer import Argument, Option

import redilate
from redilate.errors import RedilateError

from .. import command_line
from ..metadata import PICTURES, check_output, provenance, save_picture


@command_line.with_option_groups
def enlarge(
    picture: Annotated[Path, Argument(help="The picture to enlarge, of any size and ratio.")],
    scale: Annotated[float | None, Option(help="How many times its sides.")] = None,
    width: Annotated[
        int | None, Option(min=1, help="In place of --scale: pixels; the height follows.")
    ] = None,
    height: Annotated[
        int | None, Option(min=1, help="In place of --scale: pixels; the width follows.")
    ] = None,
    prompt: Annotated[str | None, Option(help="What it shows; it goes without.")] = None,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the result goes: .png, .jpg or .webp; without it, PICTURE-enlarged.png.",
        ),
    ] = None,
    seed: Annotated[int, Option(min=-1, max=2**63 - 1, help="Of the noise that is added; -1: any.")] = 0,
    model: command_line.Model = None,
    strength: command_line.Strength = None,
    preset: command_line.UsedPreset = "default",
    steps: Annotated[int, Option(min=1, help="Denoising steps; each leg takes a share of them.")] = 25,
    guidance: command_line.Guidance = None,
    negative: command_line.Negative = None,
    upscaler: command_line.Upscale = None,
    colour: Annotated[
        Literal["as-drawn", "moments", "low"],
        Option(
            help="as-drawn; moments: the mean and deviation of each channel as before; low: the colours of each part "
            "as before, since an autoencoder shifts a photograph's."
        ),
    ] = "as-drawn",
    *,
    pipeline: command_line.PipelineOptions,
    as_json: command_line.Json = False,
) -> None:
    """Enlarge PICTURE, with detail that the model draws; the file carries the settings that made it."""
    with command_line.one_line_endings():
        output = picture.with_name(f"{picture.stem}-enlarged.png") if output is None else output
        check_output(output, tuple(PICTURES))
        if (scale is None) == (width is None and height is None):
            raise RedilateError("say how large: either --scale, such as 4, or --width and --height")
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            from redilate.generation.photos import read_photo
            from redilate.generation.super_resolution import check_network

            if upscaler is not None:
                check_network(upscaler)
            photo = read_photo(picture, on_note=command_line.say)  # refused before the model is loaded
            pipe = pipeline.load(model, quiet=as_json)
            with command_line.progress(Console(stderr=True, quiet=as_json)) as bars:
                made = redilate.enlarge(
                    pipe,
                    photo,
                    scale=scale,
                    width=width,
                    height=height,
                    prompt=prompt,
                    negative=negative,
                    seed=seed,
                    steps=steps,
                    guidance=guidance,
                    strength=strength,
                    preset=preset,
                    hires=redilate.Hires(enlarge=upscaler, colour=colour),
                    on_drawing=command_line.say_notes,
                    on_note=command_line.say,
                    on_step=bars,
                    on_decode=bars.on_decode,
                )
        settings = made.settings | provenance(pipe, model, pipeline)
        save_picture(output, made.images[0], settings)
        how = f" from {photo.width}x{photo.height}"
        command_line.report([output], [made], settings, how, as_json)
