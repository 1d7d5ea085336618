"""Seconds from `generate`'s call to the U-Net's first, on SDXL's layout without weights: what comes before any step.

    python -m benchmarks.first_step --sides 1024,4096

The text encoders and the autoencoder are tiny; the U-Net has SDXL's modules on torch's meta device and is not run. Two
pictures in a row, because the first one's imports are not paid again.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

import redilate
from tests.full_size import full_size_unet
from tests.models import tiny_sdxl


class _Reached(Exception):
    """The U-Net is called."""


def seconds_to_first_call(pipe: object, side: int) -> float:
    """How long one drawing of side × side pixels takes until then."""
    started = time.perf_counter()
    try:
        redilate.generate(pipe, "a red apple on a table", width=side, height=side, native_size=1024)
    except _Reached:
        return time.perf_counter() - started
    raise AssertionError("the U-Net was not called")


def main(
    sides: Annotated[
        str, typer.Option(help="Of the pictures, in pixels, separated by commas.")
    ] = "1024,4096",
) -> None:
    """Print a line for each side."""

    def stop(*_: object) -> None:
        raise _Reached

    for side in map(int, sides.split(",")):
        pipe = tiny_sdxl()
        pipe.set_progress_bar_config(disable=True)
        pipe.unet = full_size_unet("sdxl")
        pipe.text_encoder_2.config.projection_dim = 1280  # what that U-Net's configuration expects
        hook = pipe.unet.register_forward_pre_hook(stop)
        first, second = (seconds_to_first_call(pipe, side) for _ in range(2))
        hook.remove()
        print(f"{side}x{side}: {first:.2f} s for the first picture, {second:.2f} s for the second")


if __name__ == "__main__":
    typer.run(main)
