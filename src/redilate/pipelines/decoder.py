"""A pipeline's autoencoder in strips: its `decode` and `encode` exchanged for the time of a `with`.

The pipeline goes on doing all else itself, scaling, upcasting and turning the result into pictures, so that whatever
it does to latents is done here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..decoding.decode import OnProgress, decode, moments
from ..decoding.steps import decoder_steps, encoder_steps


@contextmanager
def autoencoding_in_strips(
    pipe: Any, on_progress: OnProgress | None = None, enlarged: int = 1
) -> Iterator[None]:
    """For the time of the `with`, `pipe.vae.decode` and `pipe.vae.encode` are `redilate`'s, exact and in strips.

    Args:
        pipe: a pipeline with an AutoencoderKL. On a GPU that cannot hold what the passes keep, that waits in the
            host's memory.
        on_progress: as for `redilate.decode`, of each decode.
        enlarged: how many times a picture to encode has been enlarged per side. Above 1 the mid block's attention takes
            as many keys as there were before; 1 is exact.

    Raises:
        RedilateError: for an autoencoder that cannot be run in strips.
    """
    from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
    from diffusers.models.modeling_outputs import AutoencoderKLOutput

    vae = pipe.vae
    decoder_steps(vae)
    encoder_steps(vae)

    def decode_in_strips(z: Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        sample = decode(vae, z, scaled=False, dtype=z.dtype, on_progress=on_progress)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def encode_in_strips(x: Tensor, return_dict: bool = True) -> Any:
        found = DiagonalGaussianDistribution(moments(vae, x, dtype=x.dtype, pool=enlarged))
        return AutoencoderKLOutput(latent_dist=found) if return_dict else (found,)

    ours = {"decode": decode_in_strips, "encode": encode_in_strips}
    # A user's own stand there too: `vae.decode = torch.compile(vae.decode)` is how diffusers says to do it.
    kept = {name: vae.__dict__[name] for name in ours if name in vae.__dict__}
    vae.__dict__.update(ours)
    try:
        yield
    finally:
        for name in ours:
            vae.__dict__.pop(name, None)
        vae.__dict__.update(kept)
