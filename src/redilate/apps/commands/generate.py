"""`redilate generate`: draw a prompt at any size."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from typer import Argument, Option

import redilate
from redilate.errors import RedilateError
from redilate.rivals.registry import METHODS, find

from .. import command_line
from ..metadata import PICTURES, check_output, check_prompts, numbered, provenance, save_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..recorded_settings import Options

# The methods that take all that `redilate.generate` does.
OURS = ("redilate", "direct")
_HIRES = ("hires_prompt", "hires_negative", "hires_guidance", "hires_steps", "hires_scheduler", "hires_lora_scale",
          "hires_model", "upscaler", "control")  # fmt: skip


def _second_pass(help: str, **more: Any) -> Any:
    return Option(help=help, rich_help_panel="Second pass", **more)


@command_line.with_option_groups
def generate(
    context: typer.Context,
    output: Annotated[
        Path, Option("--output", "-o", metavar="FILE", help="Where the picture goes: .png, .jpg or .webp.")
    ],
    prompt: Annotated[str | None, Argument(help="What to draw; with --from it may be left out.")] = None,
    source: Annotated[
        Path | None,
        Option(
            "--from",
            metavar="PICTURE",
            help="Draw PICTURE again; options that are given replace what it says.",
        ),
    ] = None,
    size: Annotated[
        str | None, Option(metavar="WxH", help=f"{command_line.SIZE} Without it, the model's native size.")
    ] = None,
    strength: command_line.Strength = None,
    seed: Annotated[
        int, Option(min=-1, max=2**63 - 1, help="The first picture's seed; each further one adds 1. -1: any.")
    ] = 0,
    model: command_line.Model = None,
    preset: command_line.UsedPreset = "default",
    method: Annotated[
        str, Option(metavar="NAME", help=f"How to draw large: {', '.join(METHODS)}.")
    ] = "redilate",
    preview: Annotated[
        Path | None, Option(metavar="FILE", help="The picture at the native size, as soon as it is there.")
    ] = None,
    steps: command_line.Steps = 25,
    guidance: command_line.Guidance = None,
    negative: command_line.Negative = None,
    plan: Annotated[
        Path | None, Option(metavar="FILE", help="The plan of the last leg, as `redilate plan -o` writes it.")
    ] = None,
    count: Annotated[int, Option(min=1, help="How many pictures; they are numbered FILE-1, FILE-2 …")] = 1,
    sequential: Annotated[
        bool, Option("--sequential", help="Guidance one sample at a time: half the U-Net's memory.")
    ] = False,
    windows: command_line.Windows = None,
    upscaler: command_line.Upscale = None,
    hires_prompt: Annotated[str | None, _second_pass("Another prompt for the second pass.")] = None,
    hires_negative: Annotated[str | None, _second_pass("Another negative prompt for it.")] = None,
    hires_guidance: Annotated[float | None, _second_pass("Another guidance scale for it.", min=0.0)] = None,
    hires_steps: Annotated[int | None, _second_pass("Denoising steps of each large leg.", min=1)] = None,
    hires_scheduler: Annotated[str | None, _second_pass("Another scheduler for it.")] = None,
    hires_lora_scale: Annotated[float | None, _second_pass("How strongly LoRA weighs in it.")] = None,
    hires_model: Annotated[
        str | None, _second_pass("Another pipeline for it.", metavar="PATH_OR_HUB_ID")
    ] = None,
    controlnet: Annotated[
        str | None, Option(metavar="PATH_OR_HUB_ID", help="A ControlNet, which follows --control.")
    ] = None,
    control: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="The picture that the ControlNet follows; `enlarged`: a tile ControlNet is fed the enlarged picture "
            "of each large leg.",
        ),
    ] = None,
    *,
    pipeline: command_line.PipelineOptions,
    as_json: command_line.Json = False,
) -> None:
    """Draw PROMPT at any size; the picture carries the settings that made it."""
    with command_line.one_line_endings():
        width, height = (None, None) if size is None else command_line.parse_size(size)
        paths = numbered(output, count)
        previews = [] if preview is None else numbered(preview, count)
        for path in [*paths, *previews]:
            check_output(path, tuple(PICTURES))
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints
            from pydantic import ValidationError

            from redilate.generation.drawing import first_cause, settled_seed
            from redilate.generation.photos import read_photo
            from redilate.generation.super_resolution import check_network
            from redilate.pipelines.families import native_size
            from redilate.pipelines.loading import with_controlnet

            from ..recorded_settings import Options, options_to_redraw

            if upscaler is not None:
                check_network(upscaler)
            if (controlnet is None) != (control is None):
                raise RedilateError(
                    "--controlnet and --control go together: the network, and what it follows"
                )
            followed = None
            if control is not None and control != "enlarged":
                followed = read_photo(Path(control), on_note=command_line.say)
            try:
                hires = redilate.Hires(
                    control="enlarged" if control == "enlarged" else None,
                    prompt=hires_prompt,
                    negative=hires_negative,
                    guidance=hires_guidance,
                    steps=hires_steps,
                    scheduler=hires_scheduler,
                    lora_scale=hires_lora_scale,
                    enlarge=upscaler,
                )
            except ValidationError as error:
                raise RedilateError(f"the second pass: {first_cause(error)}") from error
            asked = Options(
                prompt=prompt,
                width=width,
                height=height,
                seed=seed,
                count=count,
                steps=steps,
                guidance=guidance,
                strength=strength,
                preset=preset,
                negative=negative,
                method=cast(Any, method),
                plan=None if plan is None else redilate.Plan.read(plan),
                hires=hires,
                sequential=sequential,
                windows=windows,
                model=model,
                pipeline=pipeline,
            )
            recorded = None
            if source is not None:
                asked, recorded, replaced = options_to_redraw(source, asked, _given(context))
                if replaced:
                    command_line.say_warning(f"not {source} again: given here, {', '.join(replaced)}")
            if asked.prompt is None:
                raise RedilateError("missing argument PROMPT: what to draw, or --from PICTURE")
            _check_method(asked, preview, hires_model)
            check_prompts(PICTURES[output.suffix.lower()], str(asked.prompt), asked.negative)
            pipe = asked.pipeline.load(asked.model, quiet=as_json)
            second = None
            if hires_model is not None:
                plain = replace(asked.pipeline, scheduler=None, vae=None, lora=None)
                second = plain.load(hires_model, quiet=as_json)
            extra: dict[str, Any] = {}
            if controlnet is not None and control == "enlarged":
                second = with_controlnet(second or pipe, controlnet, image_to_image=True)
            elif controlnet is not None:
                pipe = with_controlnet(pipe, controlnet)
                extra = {"image": followed}
            if asked.model is None and (line := command_line.advice(str(asked.prompt))) is not None:
                command_line.say(line)
            made_by = provenance(
                pipe, asked.model, asked.pipeline, controlnet=controlnet, hires_model=hires_model
            )
            if recorded is not None and (why := recorded.differences(made_by)):
                command_line.say_warning(f"{source} may not come out the same: {'; '.join(why)}")
            native_height, native_width = native_size(pipe)
            asked = replace(
                asked,
                width=asked.width or native_width,
                height=asked.height or native_height,
                seed=settled_seed(asked.seed, count),
                hires=asked.hires.model_copy(update={"pipe": second}),
                extra=extra,
            )
            left, left_previews = iter(paths), iter(previews)

            # Saved as soon as it is finished: if a long run is ended, its pictures so far are not lost.
            def keep(image: Image, settings: dict[str, Any]) -> None:
                save_picture(next(left), image, settings | made_by)

            def keep_preview(image: Image) -> None:
                save_picture(next(left_previews), image)

            with command_line.progress(Console(stderr=True, quiet=as_json)) as bars:
                if asked.method in OURS:
                    callbacks = redilate.Callbacks(
                        on_drawing=command_line.say_notes,
                        on_step=bars,
                        on_preview=keep_preview if previews else None,
                        on_decode=bars.on_decode,
                        on_note=command_line.say,
                        on_picture=keep,
                    )
                    made = [redilate.run(pipe, redilate.resolve(pipe, asked), callbacks)]
                else:
                    made = []
                    for index in range(count):
                        one = find(asked.method)(
                            pipe,
                            str(asked.prompt),
                            width=asked.width,
                            height=asked.height,
                            steps=asked.steps,
                            guidance=asked.guidance,
                            negative=asked.negative,
                            seed=asked.seed + index,
                            on_step=lambda done, total, before=index: bars(
                                before * total + done, count * total
                            ),
                        )
                        keep(one.images[0], one.settings)
                        made.append(one)
        settings = made[0].settings | made_by
        command_line.report(paths, made, settings, f", {asked.steps} steps", as_json)


def _check_method(asked: Options, preview: Path | None, hires_model: str | None) -> None:
    """Refuse an unknown method, and options that only our own methods take."""
    if asked.method in OURS:
        return
    find(asked.method)
    for name, given in (
        ("--plan", asked.plan),
        ("--preset", None if asked.preset == "default" else asked.preset),
        ("--strength", asked.strength),
        ("--windows", asked.windows),
        ("--sequential", asked.sequential or None),
        ("--preview", preview),
        ("--hires-*", asked.hires.as_json() or hires_model),
    ):
        if given is not None:
            raise RedilateError(
                f"{name} is for the method redilate, not for {asked.method}; leave one of them out"
            )


def _given(context: typer.Context) -> set[str]:
    """The names of the options on the command line; "hires" for any of the second pass."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    return given - set(_HIRES) | ({"hires"} if given & set(_HIRES) else set())
