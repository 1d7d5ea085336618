"""One run for whoever has the card: seconds, peak memory and ratios at each size, decodes, and dilated convolutions.

    python -m benchmarks.gpu --model stabilityai/stable-diffusion-xl-base-1.0
    python -m benchmarks.gpu                            # SDXL's layout with random weights: nothing is downloaded
    python -m benchmarks.gpu --layout tiny --sizes 256,384 --steps 1 --divide 64 --device cpu --dtype float32

Writes gpu.json and gpu.md, which goes into docs/performance.md with the card's name. What does not fit says so in its
row and the run goes on; each fall-back that `generate` takes is named.
"""

from __future__ import annotations

import gc
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import diffusers
import torch
import typer
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import redilate
from benchmarks.convolutions import LAYOUTS, LEVELS
from benchmarks.convolutions import seconds as best_of
from benchmarks.decode import SDXL
from redilate.core.conv import redilated_conv2d
from redilate.core.devices import is_out_of_memory, release
from redilate.errors import RedilateError
from redilate.pipelines.loading import default_device
from redilate.pipelines.out_of_memory import execution_device
from redilate.pipelines.support import image_to_image
from tests.full_size import CONFIGURATIONS
from tests.models import tiny_sdxl

Layout = Literal["sdxl", "tiny"]

# What `generate` does, a name for each way; direct comes first, as the others are compared with it.
WAYS: dict[str, dict[str, Any]] = {
    "direct": {"method": "direct"},
    "default": {},
    "full size from the first step": {"strength": 1.0},
}
DILATIONS = (1.5, 2.0, 2.5, 3.0, 4.0)
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Row:
    """One thing measured.

    Attributes:
        what, size: its name, and the side in pixels.
        seconds: wall time; None where it did not fit.
        peak: bytes held at the peak, weights included; None where a device does not say.
        ratio: of its seconds to the first way's of that size.
        notes: fall-backs, or why it has no time.
    """

    what: str
    size: int
    seconds: float | None
    peak: int | None
    ratio: float | None = None
    notes: list[str] = field(default_factory=list)


def random_pipeline(layout: Layout, device: torch.device, dtype: torch.dtype) -> Any:
    """SDXL's layout with random weights, or the tests' tiny one, on `device`."""
    pipe = tiny_sdxl()
    if layout == "tiny":
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            getattr(pipe, part).to(device, dtype)
        return pipe
    with torch.device("meta"):
        unet = type(pipe.unet)(**CONFIGURATIONS["sdxl"])
        vae = AutoencoderKL(**SDXL, force_upcast=True)
        first = CLIPTextModel(_text(pipe.tokenizer, 768, 12, 12))
        second = CLIPTextModelWithProjection(_text(pipe.tokenizer, 1280, 32, 20))
    parts: dict[str, Any] = {"unet": unet, "vae": vae, "text_encoder": first, "text_encoder_2": second}
    drawn = 0.02 * torch.randn(2**20, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    for part in parts.values():
        nn.Module.to(part, dtype).to_empty(device=device).eval()
        for weight in part.parameters():  # drawn once and repeated: seconds, not minutes
            flat = weight.data.view(-1)
            for start in range(0, flat.numel(), drawn.numel()):
                piece = flat[start : start + drawn.numel()]
                piece.copy_(drawn[: piece.numel()])
        for module in part.modules():
            if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                module.weight.data.fill_(1)
            if "position_ids" in module._buffers:
                ids = module._buffers["position_ids"]
                ids.copy_(torch.arange(ids.numel(), device=device).view_as(ids))
    if device.type == "cuda":
        unet.to(memory_format=torch.channels_last)  # as `load` does
    return StableDiffusionXLPipeline(
        **parts,
        tokenizer=pipe.tokenizer,
        tokenizer_2=pipe.tokenizer,
        scheduler=pipe.scheduler,
        add_watermarker=False,
    )


def _text(tokenizer: Any, width: int, layers: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def measured(what: str, size: int, device: torch.device, work: Callable[[], list[str]]) -> Row:
    """`work()` timed, its notes in the row; or why it could not be done."""
    cuda = device.type == "cuda"
    release(device)
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    try:
        notes = work()
    except Exception as error:
        if not isinstance(error, RedilateError) and not is_out_of_memory(error):
            raise
        return Row(what, size, None, None, notes=[str(error).splitlines()[0]])
    if cuda:
        torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) if cuda else None
    return Row(what, size, time.perf_counter() - started, peak, notes=notes)


def pictures(pipe: Any, sizes: list[int], steps: int) -> list[Row]:
    """`generate` at each size in each way."""
    rows, device = [], execution_device(pipe)
    redilate.generate(pipe, "a red apple", steps=1)  # what is set up once
    image_to_image(pipe)
    for size in sizes:
        first: float | None = None
        for name, how in WAYS.items():
            notes: list[str] = []

            def draw(how: dict = how, size: int = size, notes: list[str] = notes) -> list[str]:
                asked = {"width": size, "height": size, "steps": steps, "on_note": notes.append}
                redilate.generate(pipe, "a red apple", **asked, **how)
                return notes

            row = measured(name, size, device, draw)
            first = row.seconds if name == "direct" else first
            ratio = row.seconds / first if row.seconds and first else None
            rows.append(Row(**asdict(row) | {"ratio": ratio}))
            print(_line(rows[-1]), flush=True)
            gc.collect()
    return rows


def decodes(pipe: Any, sizes: list[int]) -> list[Row]:
    """The autoencoder's decode at each size, in each of its ways."""
    rows, vae, device = [], pipe.vae, execution_device(pipe)
    upcast = vae.dtype == torch.float16 and vae.config.force_upcast
    for size in sizes:
        shape = (1, vae.config.latent_channels, size // 8, size // 8)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)

        def whole(latents: Tensor = latents) -> list[str]:
            vae.to(torch.float32 if upcast else vae.dtype)
            try:
                with torch.inference_mode():
                    vae.decode(latents.to(vae.dtype))
            finally:
                vae.to(torch.float16 if upcast else vae.dtype)
            return []

        def strips(storage: str | None, latents: Tensor = latents) -> list[str]:
            redilate.decode(vae, latents, scaled=False, storage=storage)
            return []

        ways: dict[str, Callable[[], list[str]]] = {"decode, whole": whole}
        ways["decode, in strips"] = lambda: strips(str(device))
        if device.type != "cpu":
            ways["decode, strips on the host"] = lambda: strips("cpu")
        for name, way in ways.items():
            rows.append(measured(name, size, device, way))
            print(_line(rows[-1]), flush=True)
    return rows


@torch.inference_mode()
def convolutions(device: str, types: list[torch.dtype], divide: int) -> list[dict[str, Any]]:
    """A dilated 3×3 convolution against the plain one, at SDXL's three levels of a 2048² picture."""
    rows = []
    plain_settings = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    for kind in types:
        for channels, whole in LEVELS:
            side = max(8, whole // divide)
            for layout, memory_format in LAYOUTS.items():
                weight = torch.randn(channels, channels, 3, 3, device=device, dtype=kind)
                features = torch.randn(2, channels, side, side, device=device, dtype=kind)
                weight, features = (one.to(memory_format=memory_format) for one in (weight, features))
                plain = best_of(lambda x=features, w=weight: functional.conv2d(x, w, padding=1), device, 3)
                ratios = {}
                for d in DILATIONS:
                    for form in ("taps", "channels") if d % 1 else ("taps",):
                        spent = best_of(
                            lambda x=features, w=weight, d=d, form=form: redilated_conv2d(
                                x, w, None, factor=(d, d), fractional=form, **plain_settings
                            ),
                            device,
                            3,
                        )
                        ratios[f"{d:g}" + (f" {form}" if d % 1 else "")] = spent / plain if plain else None
                found = {"channels": channels, "side": side, "type": str(kind)[6:], "layout": layout}
                rows.append(found | {"plain_ms": plain * 1e3, "ratios": ratios})
    return rows


def _line(row: Row) -> str:
    """A row of the Markdown table."""
    seconds = "–" if row.seconds is None else f"{row.seconds:.2f}"
    peak = "–" if row.peak is None else f"{row.peak / _MEBIBYTE:.0f}"
    ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
    return f"| {row.size} | {row.what} | {seconds} | {ratio} | {peak} | {'; '.join(row.notes)} |"


def markdown(found: dict[str, Any], rows: list[Row]) -> str:
    """What goes into docs/performance.md."""
    told = found["machine"]
    lines = [
        f"### On {told['device']}",
        f"{found['model']}, {found['dtype']}, {found['steps']} steps, torch {told['torch']}, diffusers "
        f"{told['diffusers']} (`python -m benchmarks.gpu`). Seconds are wall time of one picture; memory is torch's "
        "peak, weights included.",
        "",
        "| side | what | seconds | to direct | peak MiB | notes |",
        "|--:|---|--:|--:|--:|---|",
        *map(_line, rows),
        "",
        "3×3 convolutions of two samples, re-dilated against plain, time ratios:",
        "",
    ]
    names = list(found["convolutions"][0]["ratios"])
    lines.append("| channels | side | type | layout | plain ms | " + " | ".join(names) + " |")
    lines.append("|--:|--:|---|---|--:|" + "--:|" * len(names))
    for one in found["convolutions"]:
        shown = ("–" if one["ratios"][name] is None else f"{one['ratios'][name]:.2f}" for name in names)
        lines.append(
            f"| {one['channels']} | {one['side']} | {one['type']} | {one['layout']} | {one['plain_ms']:.2f} | "
            + " | ".join(shown)
            + " |"
        )
    return "\n".join(lines) + "\n"


def main(
    model: Annotated[
        str | None, typer.Option(help="A folder, file or hub name; without it, random weights.")
    ] = None,
    layout: Annotated[Layout, typer.Option(help="Of the random weights.")] = "sdxl",
    sizes: Annotated[str, typer.Option(help="Sides in pixels, separated by commas.")] = "1024,2048,4096",
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps of each picture.")] = 25,
    device: Annotated[str | None, typer.Option(help="Without it, a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float16",
    divide: Annotated[int, typer.Option(min=1, help="Divide the convolutions' sides by this.")] = 1,
    out: Annotated[Path, typer.Option(help="The folder for gpu.json and gpu.md.")] = Path("outputs/gpu"),
) -> None:
    """Measure, print each row as it is done, and write both files."""
    home = torch.device(device or default_device())
    kind = getattr(torch, dtype)
    if model is None:
        pipe = random_pipeline(layout, home, kind)
    else:
        pipe = redilate.load(model, device=str(home), dtype=kind, on_note=print)
    pipe.set_progress_bar_config(disable=True)
    sides = [int(side) for side in sizes.split(",")]
    name = torch.cuda.get_device_name(home) if home.type == "cuda" else f"{platform.processor()} {home.type}"
    rows = [*pictures(pipe, sides, steps), *decodes(pipe, sides)]
    found: dict[str, Any] = {
        "model": model or f"{layout} with random weights",
        "dtype": dtype,
        "steps": steps,
        "machine": {
            "device": name.strip(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "redilate": redilate.__version__,
        },
        "pictures": [asdict(row) for row in rows],
        "convolutions": convolutions(str(home), sorted({torch.float32, kind}, key=str), divide),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")
    (out / "gpu.md").write_text(markdown(found, rows))
    print((out / "gpu.md").read_text())


if __name__ == "__main__":
    typer.run(main)
