"""Shared by the commands: options, loading the pipeline, one-line errors, progress bars on stderr, quiet libraries.

torch and diffusers are imported inside the functions, so that `--help` and `--version` are fast.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from typer import Option

from redilate.errors import RedilateError
from redilate.generation.upscalers import UPSCALERS

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from redilate.generation.drawing import Drawing
    from redilate.generation.run import Generation


# Exit codes; the last three as in a shell.
FAILED, REFUSED, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


def say(message: str) -> None:
    """Write `message` to stderr as one line."""
    print("redilate: " + " ".join(message.split()), file=sys.stderr)


def say_warning(message: str) -> None:
    """Write a warning to stderr as one line."""
    say(f"warning: {message}")


def say_notes(drawing: Drawing) -> None:
    """Write a drawing's notes to stderr, a line each."""
    for note in drawing.notes:
        say(note)


@contextmanager
def one_line_endings() -> Iterator[None]:
    """Turn errors that a user can cause into one line and an exit code: 2 refused, 130 interrupted, 1 failed."""
    try:
        yield
    except BaseException as error:
        # Classes by name, so that torch and the engine are not imported for them.
        name = type(error).__name__
        match error:
            case RedilateError():
                message, code = str(error), FAILED if name == "SafetyStopped" else REFUSED
            case KeyboardInterrupt():
                message, code = "interrupted", INTERRUPTED
            case BrokenPipeError():
                message, code = None, BROKEN_PIPE
            case OSError() | MemoryError():
                message, code = str(error) or "out of memory", FAILED
            case ModuleNotFoundError():  # after an installation with --no-deps
                brings = "pip install redilate, without --no-deps, brings it"
                message, code = f"{error.name} is not installed; {brings}", REFUSED
            case RuntimeError() if name == "OutOfMemoryError":
                less = "a smaller size, or --dtype float16 on a GPU, needs less"
                message, code = f"out of memory; {less} ({error})", FAILED
            case _:
                raise
        if message is not None:
            say(message)
        raise typer.Exit(code) from error


class Bars:
    """Progress bars: calling it with (steps done, steps in all) moves the bar "drawing".

    `on_decode` moves the bar "decoding", visible during a decode, with (work done, in all); it is None without a
    terminal, so that the work is not counted.
    """

    def __init__(self, bar: Progress):
        self._bar = bar
        self._drawing = bar.add_task("drawing", total=None)
        self._decoding = bar.add_task("decoding", total=100, visible=False)
        self.on_decode = None if bar.disable else self._decode

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._drawing, completed=done, total=total)

    def _decode(self, done: int, total: int) -> None:
        if done < total and not self._bar.tasks[self._decoding].visible:
            self._bar.reset(self._decoding)
        self._bar.update(self._decoding, completed=100 * done // total, visible=done < total)


@contextmanager
def progress(console: Console) -> Iterator[Bars]:
    """Progress bars on `console`, which disappear at the end; none without a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Bars(bar)


def report(
    paths: Sequence[Path], made: Sequence[Generation], settings: Mapping[str, Any], how: str, as_json: bool
) -> None:
    """Write what was made to stdout: its paths, with size, `how` and seconds on stderr, or one JSON object."""
    seeds, seconds = [seed for one in made for seed in one.seeds], sum(one.seconds for one in made)
    if as_json:
        images = [{"path": str(path), "seed": seed} for path, seed in zip(paths, seeds, strict=True)]
        print(json.dumps({"images": images, "seconds": round(seconds, 3), "settings": settings}))
        return
    print(*paths, sep="\n")
    print(f"{settings['width']}x{settings['height']}{how}, {seconds:.1f} s", file=sys.stderr)


def silence_libraries() -> None:
    """Turn off the libraries' progress bars, advice and warnings, except the bars of downloads from a hub."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Importing diffusers imports quantisation libraries, which log what they could not load.
    for talker in ("bitsandbytes", "torchao", "torch.utils._pytree", "diffusers.quantizers"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    # Before diffusers is imported, since that makes transformers log.
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()


SIZE = "Width and height in pixels, multiples of 8."
Model = Annotated[
    str | None,
    Option(metavar="PATH_OR_HUB_ID", help="A diffusers pipeline; without it, the small bundled model."),
]
Steps = Annotated[int, Option(min=1, help="Denoising steps.")]
Guidance = Annotated[
    float | None,
    Option(min=0.0, help="Classifier-free guidance scale; without it, the model family's usual one."),
]
Strength = Annotated[
    float | None,
    Option(
        min=0.0,
        max=1.0,
        help="Where the large legs start, as a noise level: low keeps the native picture, high invents; "
        "1 draws everything at full size. Without it, the model family's default.",
    ),
]
UsedPreset = Annotated[
    Literal["default", "published", "faithful"],
    Option(
        "--preset",
        help="default; published: ScaleCrafter's settings, at full size; faithful: keeps to the native picture.",
    ),
]
Negative = Annotated[str | None, Option(help="What to keep away from.")]
Scheduler = Annotated[
    str | None, Option(help="euler, ddim, dpm++ … or a diffusers class name; without it, the model's own.")
]
Windows = Annotated[
    float | None,
    Option(
        min=0.0,
        max=1.0,
        metavar="LEVEL",
        help="Self-attention looks through windows below this noise level (0 to 1): faster on large pictures.",
    ),
]
Upscale = Annotated[
    str | None,
    Option(
        "--upscaler",
        metavar="NETWORK",
        help="Enlarge with this network before the model draws on: "
        f"{', '.join(UPSCALERS)} (for photographs, for drawings, for drawings and fast; the extra `upscale`), or "
        "another's .safetensors file (spandrel).",
    ),
]
Json = Annotated[bool, Option("--json", help="Write one JSON object to stdout, and nothing else.")]
Device = Annotated[str | None, Option(help="cpu, cuda, cuda:1, mps …; without it, a GPU if there is one.")]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16"] | None,
    Option(help="The weights' precision; without it, what the device runs best."),
]
Vae = Annotated[
    str | None,
    Option(
        metavar="PATH_OR_HUB_ID",
        help="Another autoencoder; fp16-fix: SDXL's that is safe in float16, for half of the decode's memory.",
    ),
]
Lora = Annotated[
    list[str] | None,
    Option(metavar="FILE_OR_ID[:WEIGHT]", help="A LoRA, with its weight if not 1; as often as wanted."),
]
OffloadTo = Annotated[
    Literal["none", "model", "sequential"] | None,
    Option(
        "--offload",
        help="Networks (model) or layers (sequential) wait in the host's memory until they are needed; without it, "
        "networks do where they do not all fit the GPU.",
    ),
]


@dataclass(frozen=True)
class PipelineOptions:
    """How a command loads its pipeline; `with_option_groups` makes the fields its options."""

    scheduler: Scheduler = None
    device: Device = None
    dtype: Dtype = None
    vae: Vae = None
    lora: Lora = None
    offload: OffloadTo = None

    def load(self, model: str | None, device: str | None = None, *, quiet: bool = False) -> DiffusionPipeline:
        """Load `model`, on `device` if that is given; the options are checked before the weights are loaded."""
        silence_libraries()
        import torch

        from redilate.pipelines.loading import check_addons, check_model, load
        from redilate.pipelines.schedulers import check_scheduler_name, use_scheduler

        device = device or self.device
        check_model(model)
        check_device(device)
        check_addons(self.vae, self.lora or ())
        if self.scheduler is not None:
            check_scheduler_name(self.scheduler)
        # A spinner would disturb the progress bars of a hub's downloads.
        local = model is None or Path(model).exists()
        with Console(stderr=True, quiet=quiet or not local).status("loading the model"):
            pipe = load(
                model,
                device=device,
                dtype=None if self.dtype is None else getattr(torch, self.dtype),
                vae=self.vae,
                lora=self.lora or (),
                offload=self.offload,
                on_note=say_warning,
            )
        if self.scheduler is not None:
            use_scheduler(pipe, self.scheduler)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer sees it: a parameter that is a dataclass is replaced by its fields that are options."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for own in inspect.signature(command, eval_str=True).parameters.values():
        if isinstance(own.annotation, type) and is_dataclass(own.annotation):
            fields = inspect.signature(own.annotation, eval_str=True).parameters.values()
            options = [one for one in fields if get_origin(one.annotation) is Annotated]
            groups[own.name] = own.annotation, [one.name for one in options]
            parameters += options
        else:
            parameters.append(own)
    # By keyword, so that the order of parameters with and without defaults is free.
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]

    @wraps(command)
    def expanded(**given: Any) -> None:
        for name, (group, names) in groups.items():
            given[name] = group(**{option: given.pop(option) for option in names})
        command(**given)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {one.name: one.annotation for one in parameters}
    return expanded


def concepts() -> dict[str, list[str]]:
    """Each subject that the bundled model draws → its other names."""
    from redilate.pipelines.loading import BUNDLED

    return json.loads((BUNDLED / "concepts.json").read_text(encoding="utf-8"))


def advice(prompt: str) -> str | None:
    """A note for a prompt that names no subject of the bundled model; None for others."""
    words = concepts()
    names = [*words, *(other for others in words.values() for other in others)]
    said = f" {' '.join(re.findall(r'[a-z]+', prompt.lower()))} "
    # Words in any order: "apple, red" is a red apple.
    if any(all(f" {word} " in said for word in name.split()) for name in names):
        return None
    return f"the bundled model knows nothing of {prompt!r} and draws something near; it knows: {', '.join(words)}"


def parse_size(text: str) -> tuple[int, int]:
    """`"1024x768"` → (1024, 768), width and height in pixels; RedilateError unless positive multiples of 8."""
    match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", text)
    if match is None:
        raise RedilateError(f"size {text!r} is not of the form WxH; 1024x768, for example, works")
    width, height = int(match[1]), int(match[2])
    for name, side in (("width", width), ("height", height)):
        if side < 8 or side % 8:
            near = max(8, round(side / 8) * 8)
            raise RedilateError(f"size {text!r}: the {name} {side} is not a multiple of 8; {near} works")
    return width, height


def check_device(name: str | None) -> None:
    """RedilateError if torch does not know the device or this machine does not have it; None always passes."""
    if name is None:
        return
    import torch

    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    try:
        # Other back-ends (xpu, npu) can only be tried.
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RedilateError(
            f"device {name!r} is not available on this machine; {', '.join(here)} works"
        ) from error


def model_name(model: str | None) -> str:
    """The model's name in a picture: a hub id, or of a path the last part, since home folders are private."""
    if model is None:
        return "bundled"
    return Path(model).resolve().name if Path(model).exists() else model


def lora_name(lora: str) -> str:
    """The same for a LoRA, with its weight if that is not 1."""
    from redilate.pipelines.loading import split_weight

    name, weight = split_weight(lora)
    return model_name(name) + (lora.removeprefix(name) if weight != 1 else "")


def addon_names(pipeline: PipelineOptions) -> dict[str, Any]:
    """`vae` and `lora` by name, if they are not the model's own."""
    return {
        **({} if pipeline.vae is None else {"vae": model_name(pipeline.vae)}),
        **({"lora": [lora_name(one) for one in pipeline.lora]} if pipeline.lora else {}),
    }


def worker_devices(device: str | None) -> list[str | None]:
    """The workers' devices, in turn: every GPU, unless one device is named."""
    import torch

    if device in (None, "cuda") and torch.cuda.device_count() > 1:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [device]


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
