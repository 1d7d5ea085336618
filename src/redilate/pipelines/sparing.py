"""What spares memory while a pipeline runs: a large picture's autoencoder in strips, guidance one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..core.sequential import Sequential
from ..decoding.decode import OnProgress
from ..errors import RedilateError
from .decoder import autoencoding_in_strips
from .families import unet_of
from .memory import PlanAt, check_memory, decodes_in_strips, fits


@contextmanager
def sparing(
    pipe: Any,
    width: int,
    height: int,
    *,
    sequential: bool = False,
    enlarged: int = 1,
    on_decode: OnProgress | None = None,
) -> Iterator[None]:
    """For the time of the `with`, a picture of width × height pixels takes as little memory as it can.

    Args:
        pipe: the pipeline, left as it was at the end, also after an exception. One whose VAE tiling is enabled keeps
            that.
        sequential: whether guidance is evaluated one sample at a time.
        enlarged: how many times a picture that it encodes has been enlarged per side, as for `autoencoding_in_strips`.
        on_decode: the progress of each decode that goes in strips, as for `autoencoding_in_strips`.

    Raises:
        RedilateError: for sequential guidance on a network that does not allow it.
    """
    with ExitStack() as stack:
        if decodes_in_strips(pipe, width, height):
            stack.enter_context(autoencoding_in_strips(pipe, on_decode, enlarged))
        if sequential:
            if reason := _needs_its_batch_whole(pipe):
                raise RedilateError(reason)
            stack.enter_context(Sequential(pipe.unet))
        yield


def choose_sequential(
    pipe: Any,
    width: int,
    height: int,
    *,
    plan_at: PlanAt,
    guided: bool,
    asked: bool = False,
    noise: float = 1.0,
) -> bool:
    """Whether guidance is to be evaluated one sample at a time: as asked, or where the device holds it only so.

    Args:
        pipe: a diffusers pipeline. For one whose network does not allow it the answer is `asked`; `sparing` refuses it.
        width, height, plan_at, guided, noise: as for `check_memory`.
        asked: whether it was asked for.

    Raises:
        RedilateError: for a size that the device cannot hold, as `check_memory`.
    """
    allowed = guided and _needs_its_batch_whole(pipe) is None
    sequential = asked or (
        allowed and not fits(pipe, width, height, plan_at=plan_at, guided=True, sequential=False, noise=noise)
    )
    check_memory(pipe, width, height, plan_at=plan_at, guided=guided, sequential=sequential, noise=noise)
    return sequential


def _needs_its_batch_whole(pipe: Any) -> str | None:
    """Why a pipeline's network cannot run sequential guidance, and what helps; None where it can."""
    if getattr(pipe, "pag_applied_layers", None) is not None:
        return "perturbed-attention guidance needs its batch whole; leave sequential guidance out"
    if unet_of(pipe)._compiled_call_impl is not None:
        return "a U-Net compiled in place cannot run sequential guidance; use torch.compile(pipe.unet)"
    return None
