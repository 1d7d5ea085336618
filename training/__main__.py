"""Make the bundled model from nothing: `python -m training`. Stop it at any time; the same command goes on."""

from __future__ import annotations

import argparse
import math
import platform
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from . import autoencoder, bundle, icons, text, unet

BUNDLED = Path(__file__).parent.parent / "src" / "redilate" / "bundled" / "model"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("training/work"), help="icons, latents and checkpoints"
    )
    parser.add_argument("--out", type=Path, default=BUNDLED, help="where the finished model goes")
    parser.add_argument(
        "--start",
        type=Path,
        help="train a finished model further, from this folder: --start src/redilate/bundled/model",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--autoencoder-steps", type=int, default=3000)
    parser.add_argument("--unet-steps", type=int, default=30000)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="learning rate of the U-Net's training")
    parser.add_argument("--batch", type=int, default=32, help="latents per step of the U-Net's training")
    parser.add_argument("--samples", type=int, default=256, help="drawn at the end, to be recognised")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="end the U-Net's training after so many"
    )
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        default=torch.cuda.is_available(),
        help="train in bfloat16: the default on a GPU, worth it on processors with AMX",
    )
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)

    icons.fetch(work)
    concepts = icons.concepts(work)
    vae = _autoencoder(work, arguments)

    if arguments.start is None:
        tokenizer = text.build_tokenizer(icons.vocabulary(work))
    else:
        tokenizer = CLIPTokenizer.from_pretrained(arguments.start / "tokenizer_2")
    model = unet.train(
        vae,
        tokenizer,
        concepts,
        work,
        steps=arguments.unet_steps,
        batch=arguments.batch,
        rate=arguments.rate,
        device=arguments.device,
        minutes=arguments.minutes,
        start=arguments.start,
        bfloat16=arguments.bfloat16,
    )
    held_out = icons.held_out(work)
    figures = {f"psnr_{size}": f"{autoencoder.mean_psnr(vae, held_out, size):.2f}" for size in (256, 512)}
    print("autoencoder, held-out renders:", figures, flush=True)
    pipe = bundle.assemble(vae, tokenizer, model.eval())
    # Every concept in turn, each time with seeds of its own.
    shown = (concepts * (arguments.samples // len(concepts) + 1))[: arguments.samples]
    samples = bundle.samples(pipe, shown)
    two = slice(0, 2 * len(concepts))
    bundle.sheet(samples[two], shown[two]).save(work / "samples.png")
    recognised = bundle.recognised(samples, shown, concepts)
    print(f"nearest to their own icon: {recognised} of {len(shown)} samples", flush=True)
    plain, denoised = bundle.low_noise(pipe, concepts)
    print(f"true renders: {plain:.2f} dB encoded and decoded, {denoised:.2f} dB from level 0.25", flush=True)
    hardware = torch.cuda.get_device_name() if arguments.device == "cuda" else _processor()
    runs = bundle.runs_before(arguments.start)
    autoencoder_too = (
        "" if arguments.start else f"{arguments.autoencoder_steps} steps for the autoencoder and "
    )
    steps = unet.steps_done(work)
    runs.append(
        f"{autoencoder_too}{steps} for the U-Net and text encoder, on {len(concepts)} concepts and {hardware}"
    )
    facts = figures | {
        "concepts": str(len(concepts)),
        "samples": str(len(shown)),
        "recognised": str(recognised),
        "plain": f"{plain:.2f}",
        "denoised": f"{denoised:.2f}",
    }
    bundle.save(pipe, arguments.out, runs, facts, concepts)
    print(f"the model is in {arguments.out}, samples in {work / 'samples.png'}")


def _autoencoder(work: Path, arguments: argparse.Namespace) -> AutoencoderKL:
    """The finished autoencoder from `work` or of the model to start from, or a newly trained one."""
    finished = work / "vae" if arguments.start is None else arguments.start / "vae"
    if not (finished / "config.json").exists():
        learnt = icons.autoencoder_icons(work)
        vae = autoencoder.train(learnt, work, steps=arguments.autoencoder_steps, device=arguments.device)
        vae.save_pretrained(finished)
    return AutoencoderKL.from_pretrained(finished).to(arguments.device).eval().requires_grad_(False)


def _processor() -> str:
    threads = torch.get_num_threads()
    return f"{threads} {platform.machine()} CPU core{'s' if threads > 1 else ''}"


if __name__ == "__main__":
    main()
