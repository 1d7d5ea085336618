"""Fallbacks for when memory runs out: what failed is repeated in a way that needs less.

- A leg's denoising: fewer pictures at a time, then guidance one sample at a time, then model offload.
- The autoencoder: whole, in strips, or in strips stored on the host, depending on the free memory. Its input is kept,
  so no denoising step is repeated.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..core.devices import device_bytes, has_own_memory, is_out_of_memory, release
from ..core.sequential_guidance import Sequential
from ..decoding.decode import (
    OnProgress,
    check_finite,
    decode,
    offload_the_others,
    posterior_of,
    whole_decode_bytes,
    whole_encode_bytes,
)
from ..decoding.steps import computing_device, decoder_steps, encoder_steps
from ..errors import RedilateError
from .families import unet_of

# In strips at once if the whole is likely to need more than this share of the free memory.
_SHARE = 0.7
# On a CPU strips are as fast from about here on: they stay in its cache, and malloc maps blocks of more than 32 MiB
# anew each time, page by page (docs/performance.md). With fewer keys, from half of it on.
_WHOLE_ON_CPU = 256 * 2**20

Note = Callable[[str], None]
# Its description for a note, and the work.
_Way = tuple[str, Callable[[], Any]]


@contextmanager
def autoencoder_with_fallbacks(
    pipe: Any,
    *,
    note: Note,
    make_room: Callable[[], bool] = lambda: False,
    enlarged: int = 1,
    on_progress: OnProgress | None = None,
) -> Iterator[None]:
    """A context manager in which `pipe.vae.decode` and `pipe.vae.encode` fall back to ways that need less memory.

    Args:
        pipe: a pipeline, with or without a `vae`. If tiling is enabled, it stands for "whole".
        note: called with a line at each fallback.
        make_room: the last resort: moves the pipeline's other networks off the device and returns whether it could.
        enlarged: how many times per side a picture to encode has been enlarged. Above 1 the mid block's attention, in
            strips, has as many keys as before the enlargement; 1 is exact.
        on_progress: as for `redilate.decode`, for each decode and encode in strips.

    Raises:
        RedilateError: in a call, if the last way runs out of memory too, or latents are not all finite.
    """
    vae = getattr(pipe, "vae", None)
    if vae is None or not hasattr(vae, "decode"):
        yield
        return
    ours = _Calls(vae, note, make_room, enlarged, on_progress)
    names = ("decode", "encode")
    # A user may have replaced them: diffusers documents `vae.decode = torch.compile(vae.decode)`.
    kept = {name: vae.__dict__[name] for name in names if name in vae.__dict__}
    kind = getattr(vae, "dtype", None)
    vae.__dict__.update({name: getattr(ours, name) for name in names if hasattr(vae, name)})
    try:
        yield
    finally:
        for name in names:
            vae.__dict__.pop(name, None)
        vae.__dict__.update(kept)
        if kind is not None and vae.dtype != kind:  # upcast by a pipeline that raised
            vae.to(kind)


class _Calls:
    """Replacements for an autoencoder's `decode` and `encode`."""

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
        if (
            known and z.shape[0] > 1
        ):  # one by one, in the memory of one: a picture is enough work for any device
            alone = [self.decode(one, *args, **kwargs)[0] for one in z.split(1)]
            return DecoderOutput(torch.cat(alone)) if _as_object(args, kwargs) else (torch.cat(alone),)
        needed = whole_decode_bytes(self._vae, *size) if known else None
        return self._first("decode", needed, lambda: self._own["decode"](z, *args, **kwargs), strips, z)

    def encode(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
        from diffusers.models.modeling_outputs import AutoencoderKLOutput

        def strips(storage: str | None) -> Any:
            both = posterior_of(
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
        return self._first(
            "encode", needed, lambda: self._own["encode"](x, *args, **kwargs), strips, x, self._enlarged > 1
        )

    def _first(
        self,
        what: str,
        needed: int | None,
        whole: Callable[[], Any],
        strips: Callable[[str | None], Any],
        given: Tensor,
        fewer_keys: bool = False,
    ) -> Any:
        """The result of the first way that does not run out of memory; `needed` is None if strips are impossible.

        `fewer_keys`: whether the mid block's attention has fewer keys in strips, which makes them faster.
        """
        device = computing_device(self._vae, given)
        ways: list[_Way] = []
        if needed is None or not self._is_large(needed, device, fewer_keys):
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

    def _is_large(self, needed: int, device: torch.device, fewer_keys: bool) -> bool:
        """Whether to start in strips, by the free memory."""
        if self._vae.use_tiling:
            return False
        offload_the_others(self._vae)
        bound = _SHARE * device_bytes(device)[0]
        if device.type == "cpu":
            bound = min(bound, _WHOLE_ON_CPU // 2 if fewer_keys else _WHOLE_ON_CPU)
        return needed > bound


def _as_object(args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("return_dict", args[0] if args else True))


def _supported(steps: Callable[[Any], object], vae: Any) -> bool:
    try:
        steps(vae)
    except RedilateError:  # an autoencoder with other layers
        return False
    return True


Given = TypeVar("Given")
Made = TypeVar("Made")

# Pixels × samples from which on a network ran out of memory, so that the next picture starts below.
_too_large: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


class MemoryFallbacks:
    """The fallbacks of one drawing's denoising.

    Attributes:
        sequential: whether guidance was evaluated one sample at a time, as asked for or as a fallback.

    Args:
        sequential: whether it is asked for.
        note: called with a line at each fallback.
    """

    def __init__(self, sequential: bool, note: Callable[[str], None]):
        self.sequential = sequential
        self._asked = sequential
        self._note = note

    def denoise(
        self,
        pipe: Any,
        size: tuple[int, int],
        guided: bool,
        pictures: Sequence[Given],
        call: Callable[[Sequence[Given]], list[Made]],
    ) -> list[Made]:
        """The results of `call`, a call of `pipe`, for all pictures, with fallbacks.

        Args:
            pipe: stays under model offload if only that fitted.
            size: (height, width) in pixels.
            guided: whether a picture has two samples in the batch.
            pictures: at least one; `call` gets all together, or after a fallback half as many, down to one.
            call: → one result for each picture; if it returns fewer, it is not called again.

        Raises:
            RedilateError: if the last fallback runs out of memory too, or the network does not allow the sequential
                guidance asked for.
        """
        unet, device, pixels = unet_of(pipe), execution_device(pipe), size[0] * size[1]
        reason = needs_its_batch_whole(pipe)
        if self._asked and reason:
            raise RedilateError(reason)
        may = guided and reason is None
        one = 2 * pixels if guided else pixels
        known = _too_large.get(unet, math.inf)
        sequential = self._asked or (may and one >= known)
        where = f"{device} ran out of memory at {size[1]}x{size[0]}"
        at_once = 1 if sequential else len(pictures)  # sequential guidance is no faster for several pictures
        while at_once > 1 and at_once * one >= known:
            at_once //= 2
        made: list[Made] = []
        while True:
            part = pictures[len(made) : len(made) + at_once]
            self.sequential = self.sequential or sequential
            try:
                with Sequential(pipe.unet) if sequential else nullcontext():
                    found = call(part)
                made += found
                if len(found) < len(part) or len(made) == len(pictures):
                    return made
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error).strip().splitlines()
            release(device)
            if len(part) > 1 or (may and not sequential):
                _too_large[unet] = min(len(part) * one, _too_large.get(unet, len(part) * one))
            if len(part) > 1:
                at_once = len(part) // 2
                self._note(f"{where} with {len(part)} pictures at a time: once more with {at_once}")
            elif may and not sequential:
                sequential = True
                self._note(f"{where}: once more with guidance one sample at a time")
            elif offload(pipe):
                self._note(f"{where}: once more with each network in the host's memory until it is needed")
            else:
                raise RedilateError(
                    f"{where}, in the thriftiest way too; a smaller size, or half precision, needs less "
                    f"({said[0] if said else 'no more was said'})"
                )


def execution_device(pipe: Any) -> torch.device:
    """The device that a pipeline computes on; under offload its weights may be elsewhere."""
    return torch.device(getattr(pipe, "_execution_device", None) or next(unet_of(pipe).parameters()).device)


def offload(pipe: Any) -> bool:
    """Enable model offload: each network waits in the host's memory until it is needed.

    Returns:
        Whether that changed anything: False on a device that shares the host's memory, and if offload is on already.
    """
    device = execution_device(pipe)
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    waiting = any(hasattr(module, "_hf_hook") for part in parts for module in (part, *part.children()))
    if not has_own_memory(device) or waiting:
        return False
    try:
        pipe.enable_model_cpu_offload(device=device)
    except (ValueError, NotImplementedError):  # group offload, a device map, weights that cannot be moved
        return False
    return True


def needs_its_batch_whole(pipe: Any) -> str | None:
    """Why a pipeline's network cannot run sequential guidance, and what helps; None if it can."""
    if getattr(pipe, "pag_applied_layers", None) is not None:
        return "perturbed-attention guidance needs its batch whole; leave sequential guidance out"
    if unet_of(pipe)._compiled_call_impl is not None:
        return "a U-Net compiled in place cannot run sequential guidance; use torch.compile(pipe.unet)"
    return None
