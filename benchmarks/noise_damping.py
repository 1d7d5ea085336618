"""What it costs in accuracy to keep ND-CFG's Δ over several steps, on the bundled model.

    python -m benchmarks.noise_damping --size 512x512

Against Δ at every step, from the same seed: the picture's root-mean-square difference in [0, 1], beside that of
leaving ND-CFG out, and how many samples the U-Net evaluated.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

import redilate
from redilate import NoiseDamping, Plan
from redilate.plans.plan import block_of, convolutions

PROMPTS = ("a red apple", "a blue car", "a green tree", "a yellow fish")


def plans(pipe: Any, width: int, height: int, until: float, reuses: list[float]) -> dict[str, Plan]:
    """Label → plan: without ND-CFG, at every step, and with Δ kept over each noise-level interval of `reuses`."""
    base = redilate.plan_for(pipe, width=width, height=height).model_copy(update={"until": until})
    ratio = next(iter(base.dilation.values()))
    mild = {name: ratio for name in convolutions(pipe.unet) if block_of(name) in ("mid_block", "up_blocks.0")}
    made = {"without": base}
    for reuse in [0.0, *reuses]:
        damping = NoiseDamping(dilation=mild, until=until, reuse=reuse)
        made[f"Δ for {reuse:g}" if reuse else "every step"] = base.model_copy(
            update={"noise_damping": damping}
        )
    return made


def main(
    size: Annotated[str, typer.Option(metavar="WxH", help="In pixels.")] = "512x512",
    steps: Annotated[int, typer.Option(help="Denoising steps.")] = 25,
    count: Annotated[int, typer.Option(help="How many of the four prompts.")] = 4,
    until: Annotated[float, typer.Option(help="Noise level down to which both are at work.")] = 0.3,
    reuses: Annotated[str, typer.Option(help="Noise-level intervals, separated by commas.")] = "0.1,0.2,0.4",
) -> None:
    """Print one line for each way."""
    width, height = (int(side) for side in size.lower().split("x"))
    pipe = redilate.load(device="cpu")
    pipe.set_progress_bar_config(disable=True)
    samples = 0

    def note(_module: Any, args: tuple, _kwargs: dict) -> None:
        nonlocal samples
        samples += args[0].shape[0]

    hook = pipe.unet.register_forward_pre_hook(note, with_kwargs=True)
    made: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    intervals = [float(value) for value in reuses.split(",")]
    for label, plan in plans(pipe, width, height, until, intervals).items():
        samples = 0
        pictures = [
            redilate.generate(
                pipe, prompt, width=width, height=height, steps=steps, guidance=3, seed=seed, plan=plan
            ).images[0]
            for seed, prompt in enumerate(PROMPTS[:count])
        ]
        made[label] = np.stack([np.asarray(picture, dtype=np.float64) / 255 for picture in pictures])
        counts[label] = samples // count
    hook.remove()
    print("| ND-CFG | samples evaluated | RMS difference to every step |")
    print("|---|--:|--:|")
    for label, pictures in made.items():
        difference = np.sqrt(((pictures - made["every step"]) ** 2).mean())
        print(f"| {label} | {counts[label]} | {difference:.4f} |")


if __name__ == "__main__":
    typer.run(main)
