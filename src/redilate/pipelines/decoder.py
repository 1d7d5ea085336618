"""A pipeline's autoencoder in the first way that the device holds: whole, in strips, or in strips kept on the host.

Its `decode` and `encode` are exchanged for the time of a `with`; the pipeline goes on doing all else itself, scaling,
upcasting and turning the result into pictures. Which way is taken is decided at each call, by what is free then; and
what a call is given stays where it is, so that a decode that runs out of memory is tried again from its own latents
and no step of the denoising before it is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..core.devices import device_bytes, has_own_memory, is_out_of_memory, release
from ..decoding.autoencoder import computing_device
from ..decoding.decode import (
    OnProgress,
    check_finite,
    decode,
    make_way,
    moments,
    whole_decode_bytes,
    whole_encode_bytes,
)
from ..decoding.steps import decoder_steps, encoder_steps
from ..errors import RedilateError

# In strips from the start where the whole is likely to take more than this share of what is free.
_SHARE = 0.7
# On a CPU strips are faster, too, from about here on: they stay in its cache, and C's heap takes blocks of more than
# 32 MiB from the kernel each time anew, page by page (docs/performance.md).
_WHOLE_ON_CPU = 256 * 2**20

Note = Callable[[str], None]
# What is said, and the work; `None` is said of the first way, which is the usual one.
_Way = tuple[str, Callable[[], Any]]


@contextmanager
def sparing_autoencoder(
    pipe: Any,
    *,
    note: Note,
    make_room: Callable[[], bool] = lambda: False,
    enlarged: int = 1,
    on_progress: OnProgress | None = None,
) -> Iterator[None]:
    """For the time of the `with`, `pipe.vae.decode` and `pipe.vae.encode` take as little memory as they must.

    Args:
        pipe: a pipeline; one without a `vae` is left alone. Tiling that is enabled on it is its whole way.
        note: called with a line when a way ran out of memory and the next is tried.
        make_room: the last resort: moves the pipeline's other networks off the device; returns whether it did.
        enlarged: how many times a picture to encode has been enlarged per side. Above 1 the mid block's attention, in
            strips, takes as many keys as there were before; 1 is exact.
        on_progress: as for `redilate.decode`, of each decode and encode in strips.

    Raises:
        RedilateError: in a call, where not even the last way's memory is to be had, or latents are not all finite.
    """
    vae = getattr(pipe, "vae", None)
    if vae is None or not hasattr(vae, "decode"):
        yield
        return
    ours = _Calls(vae, note, make_room, enlarged, on_progress)
    names = ("decode", "encode")
    # A user's own stand there too: `vae.decode = torch.compile(vae.decode)` is how diffusers says to do it.
    kept = {name: vae.__dict__[name] for name in names if name in vae.__dict__}
    kind = getattr(vae, "dtype", None)
    vae.__dict__.update({name: getattr(ours, name) for name in names if hasattr(vae, name)})
    try:
        yield
    finally:
        for name in names:
            vae.__dict__.pop(name, None)
        vae.__dict__.update(kept)
        if kind is not None and vae.dtype != kind:  # a pipeline that an exception left has upcast it
            vae.to(kind)


class _Calls:
    """The two functions that stand in for an autoencoder's own."""

    def __init__(
        self,
        vae: Any,
        note: Note,
        make_room: Callable[[], bool],
        enlarged: int,
        on_progress: OnProgress | None,
    ):
        self._vae, self._note, self._make_room = vae, note, make_room
        self._enlarged, self._on_progress = enlarged, on_progress
        self._own = {name: getattr(vae, name) for name in ("decode", "encode") if hasattr(vae, name)}

    def decode(self, z: Tensor, *args: Any, **kwargs: Any) -> Any:
        from diffusers.models.autoencoders.vae import DecoderOutput

        def strips(storage: str | None) -> Any:
            sample = decode(
                self._vae, z, scaled=False, dtype=z.dtype, storage=storage, on_progress=self._on_progress
            )
            return DecoderOutput(sample=sample) if _as_object(args, kwargs) else (sample,)

        check_finite(z, "what the U-Net has made")
        size = (z.shape[-2], z.shape[-1])
        known = _supported(decoder_steps, self._vae) and z.dim() == 4
        if known and z.shape[0] > 1:  # in the memory of one, since a picture is enough work for any device
            alone = [self.decode(one, *args, **kwargs)[0] for one in z.split(1)]
            return DecoderOutput(torch.cat(alone)) if _as_object(args, kwargs) else (torch.cat(alone),)
        needed = whole_decode_bytes(self._vae, *size) if known else None
        return self._first("decode", needed, lambda: self._own["decode"](z, *args, **kwargs), strips, z)

    def encode(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
        from diffusers.models.modeling_outputs import AutoencoderKLOutput

        def strips(storage: str | None) -> Any:
            both = moments(
                self._vae,
                x,
                dtype=x.dtype,
                storage=storage,
                pool=self._enlarged,
                on_progress=self._on_progress,
            )
            found = DiagonalGaussianDistribution(both)
            return AutoencoderKLOutput(latent_dist=found) if _as_object(args, kwargs) else (found,)

        size = (x.shape[-2], x.shape[-1])
        known = _supported(encoder_steps, self._vae) and x.dim() == 4
        needed = whole_encode_bytes(self._vae, *size) if known else None
        return self._first("encode", needed, lambda: self._own["encode"](x, *args, **kwargs), strips, x)

    def _first(
        self,
        what: str,
        needed: int | None,
        whole: Callable[[], Any],
        strips: Callable[[str | None], Any],
        given: Tensor,
    ) -> Any:
        """The result of the first way whose memory is to be had; `needed` is None where there are no strips."""
        device = computing_device(self._vae, given)
        ways: list[_Way] = []
        if needed is None or not self._is_large(needed, device):
            ways.append(("", whole))
        if needed is not None:
            ways.append(("in strips", lambda: strips(None)))
            if has_own_memory(device):
                ways.append(("in strips that wait in the host's memory", lambda: strips("cpu")))
        last = ways[-1][1]
        for index, (_, way) in enumerate(ways):
            try:
                return way()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            release(device)
            if index + 1 < len(ways):
                self._note(
                    f"{device} ran out of memory to {what} the picture: once more {ways[index + 1][0]}"
                )
        if self._make_room():
            self._note(
                f"{device} ran out of memory to {what} the picture: once more with the other networks moved to the "
                "host's memory, where they stay"
            )
            try:
                return last()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            release(device)
        how = ", even in strips" if needed is not None else ""
        raise RedilateError(
            f"{device} has too little memory to {what} the picture{how}; a smaller size needs less"
        )

    def _is_large(self, needed: int, device: torch.device) -> bool:
        """Whether the autoencoder should go in strips from the start, by what is free once others have made way."""
        if self._vae.use_tiling:
            return False
        make_way(self._vae)
        bound = _SHARE * device_bytes(device)[0]
        return needed > (min(bound, _WHOLE_ON_CPU) if device.type == "cpu" else bound)


def _as_object(args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("return_dict", args[0] if args else True))


def _supported(steps: Callable[[Any], object], vae: Any) -> bool:
    try:
        steps(vae)
    except RedilateError:  # an autoencoder with other layers: its own way is what there is
        return False
    return True
