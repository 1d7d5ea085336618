"""What spares memory while a pipeline runs: a large picture's autoencoder in strips, guidance one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..core.sequential import Sequential
from ..errors import RedilateError
from .decoder import autoencoding_in_strips
from .families import unet_of
from .memory import decodes_in_strips


@contextmanager
def sparing(
    pipe: Any, width: int, height: int, *, sequential: bool = False, enlarged: int = 1
) -> Iterator[None]:
    """For the time of the `with`, a picture of width × height pixels takes as little memory as it can.

    Args:
        pipe: the pipeline, left as it was at the end, also after an exception. One whose VAE tiling is enabled keeps
            that.
        sequential: whether guidance is evaluated one sample at a time.
        enlarged: how many times a picture that it encodes has been enlarged per side, as for `autoencoding_in_strips`.

    Raises:
        RedilateError: for sequential guidance on a network that does not allow it.
    """
    with ExitStack() as stack:
        if decodes_in_strips(pipe, width, height):
            stack.enter_context(autoencoding_in_strips(pipe, enlarged=enlarged))
        if sequential:
            if getattr(pipe, "pag_applied_layers", None) is not None:
                raise RedilateError(
                    "perturbed-attention guidance needs its batch whole; leave sequential guidance out"
                )
            if unet_of(pipe)._compiled_call_impl is not None:
                raise RedilateError(
                    "a U-Net compiled in place cannot run sequential guidance; use torch.compile(pipe.unet)"
                )
            stack.enter_context(Sequential(pipe.unet))
        yield
