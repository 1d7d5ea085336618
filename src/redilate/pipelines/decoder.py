"""A pipeline's decode in strips: the autoencoder's `decode` exchanged for the time of a `with`.

The pipeline goes on doing all else itself, unscaling, upcasting and turning the result into pictures, so that
whatever it does to latents is done here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..decoding.decode import OnProgress, bytes_needed, decode
from ..decoding.steps import decoder_steps
from .memory import device_bytes


@contextmanager
def decoding_in_strips(pipe: Any, on_progress: OnProgress | None = None) -> Iterator[None]:
    """For the time of the `with`, `pipe.vae.decode` is `redilate.decode`.

    Args:
        pipe: a pipeline with an AutoencoderKL. On a GPU that cannot hold what the passes keep, that waits in the
            host's memory.
        on_progress: as for `redilate.decode`.

    Raises:
        RedilateError: for an autoencoder that cannot be run in strips.
    """
    from diffusers.models.autoencoders.vae import DecoderOutput

    vae = pipe.vae
    decoder_steps(vae)

    def in_strips(z: Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        sample = decode(vae, z, dtype=z.dtype, storage=_storage(vae, z), on_progress=on_progress)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    vae.__dict__["decode"] = in_strips
    try:
        yield
    finally:
        del vae.__dict__["decode"]


def _storage(vae: Any, latents: Tensor) -> str | None:
    """ "cpu" where the device cannot hold what the passes keep."""
    if latents.device.type != "cuda":
        return None
    needed = bytes_needed(vae, latents.shape[2], latents.shape[3], latents.device)
    return "cpu" if needed > device_bytes(latents.device)[0] else None
