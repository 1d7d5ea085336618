"""MODEL → MODEL: a copy whose network is re-dilated, for the time of each call and no longer.

ComfyUI's MODELs are light copies (`ModelPatcher.clone`) around one network, and the network may be exchanged for
another on the way (torch.compile, dynamic VRAM, a second GPU). So nothing of ours stays on a network, and none is held:
what a copy carries are two functions, which ComfyUI calls around each sampling and around each call of the network,
and which ask it each time which network that is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import ValidationError
from torch import nn

from redilate.core.conv import Dilation, exchange, restore, set_dilation
from redilate.errors import RedilateError
from redilate.pipelines.families import ratio_to_native
from redilate.plans.defaults import leg_plan, whole_plan
from redilate.plans.plan import Plan

from .layout import convolutions
from .native import PIXELS_PER_LATENT, family_of, has_buckets, native_side, noise_level
from .report import Run

# `comfy.patcher_extension.WrappersMP` has these names; the key is ours.
_APPLY, _SAMPLE, _KEY = "apply_model", "outer_sample", "redilate"
# A sampling that starts this high is from pure noise: the highest of a thousand timesteps is 0.999.
_WHOLE_FROM = 0.99

Size = tuple[int, int]
Plans = Callable[[Size, bool], Plan]


def redilate_model(model: Any, native_size: int = 0, plan: str = "") -> Any:
    """A copy of a MODEL that is re-dilated at whatever size it is sampled at.

    A sampling from pure noise takes the plan of a picture that is drawn at full size from the first step; one that
    starts later, such as a hires pass, that of a large leg.

    Args:
        model: ComfyUI's `ModelPatcher`; left as it is.
        native_size: the side in pixels that the checkpoint was trained at; 0: told from its configuration.
        plan: a plan as JSON (`redilate plan --output`) in place of the one that follows from the size.

    Raises:
        RedilateError: if the model is no U-Net, its native size is not known, or the plan is none or not for it.
    """
    if not hasattr(model, "add_wrapper_with_key"):
        raise RedilateError("this ComfyUI is older than December 2024; Redilate needs 0.3.7 or later")
    plans = plans_for(model.model, native_size, plan)
    patched = model.clone()
    for kind, wrapper in ((_SAMPLE, _sampled), (_APPLY, _around_network(plans))):
        patched.remove_wrappers_with_key(kind, _KEY)  # of two such nodes in a row the last one counts
        patched.add_wrapper_with_key(kind, _KEY, wrapper)
    return patched


def plans_for(base: Any, native_size: int = 0, text: str = "") -> Plans:
    """(latent (height, width), whether from pure noise) → plan, for a model (`BaseModel`), which is not held.

    Raises:
        RedilateError: as `redilate_model`.
    """
    names = list(convolutions(base.diffusion_model))
    if text.strip():
        plan = _read(text, names)
        return lambda size, whole: plan
    native, buckets, family = native_side(base, native_size), has_buckets(base), family_of(base, names)

    @lru_cache(maxsize=16)
    def for_size(size: Size, whole: bool) -> Plan:
        pixels = (size[0] * PIXELS_PER_LATENT, size[1] * PIXELS_PER_LATENT)
        ratio = ratio_to_native(pixels, (native, native), buckets)
        chosen = (whole_plan if whole else leg_plan)(names, family, ratio)
        return chosen.model_copy(update={"noise_damping": None})  # which is not done here

    return for_size


def _read(text: str, names: list[str]) -> Plan:
    try:
        plan = Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        raise RedilateError(f"this is not a plan: {place}: {first['msg']}") from error
    for field, name in (("noise_damping", "noise_damping (ND-CFG)"), ("windows", "windows")):
        if getattr(plan, field) is not None:
            raise RedilateError(f"this plan has {name}, which this node does not do; set it to null")
    if unknown := sorted(plan.dilation.keys() - set(names)):
        raise RedilateError(f"the plan names {unknown[0]!r}, which this model does not have")
    return plan


def _sampled(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Puts a `Run` where every call of a sampling finds it, and writes it to the log at the end."""
    run = Run()
    options = executor.class_obj.model_options  # ComfyUI's copy for this sampling alone
    options["transformer_options"] = options.get("transformer_options", {}) | {_KEY: run}
    try:
        return executor(*args, **kwargs)
    finally:
        logging.info("Redilate: %s", run)


def _around_network(plans: Plans) -> Callable:
    # A function and no object: a MODEL's options may be copied deeply, and an object would be taken along.
    def called(executor: Any, *args: Any, **kwargs: Any) -> Any:
        latents, sigma = args[:2]
        options = args[5] if len(args) > 5 else kwargs.get("transformer_options") or {}
        base = executor.class_obj
        level = noise_level(base.model_sampling, sigma)
        size = (latents.shape[-2], latents.shape[-1])
        sigmas = options.get("sample_sigmas")  # of the sampling under way, where ComfyUI says them
        start = 1.0 if sigmas is None or len(sigmas) == 0 else noise_level(base.model_sampling, sigmas[0])
        plan = plans(size, start >= _WHOLE_FROM)
        factors = {name: factor for name, factor in plan.dilations(level).items() if factor != (1.0, 1.0)}
        if (run := options.get(_KEY)) is not None:
            run.note(size, plan, level, factors)
        with _redilated(base.diffusion_model, plan, factors):
            return executor(*args, **kwargs)

    return called


_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


@contextmanager
def _redilated(unet: nn.Module, plan: Plan, factors: Mapping[str, Dilation]) -> Iterator[None]:
    """The network with these dilations, for the time of a `with`, also if that ends by an exception.

    Threads that come to one network take turns, whether they dilate it or not. ComfyUI gives each GPU a network of
    its own, and there nobody waits.
    """
    with _lock_of(unet):
        known = convolutions(unet) if factors else {}
        try:
            for name, factor in factors.items():
                exchange(
                    known[name], plan.dispersions.get(name), plan.fractional_of(name), name in plan.low_passed
                )
                set_dilation(known[name], factor)
            yield
        finally:
            for name in factors:
                restore(known[name])


def _lock_of(unet: nn.Module) -> threading.RLock:
    unet = getattr(unet, "_orig_mod", unet)  # out of torch.compile's wrapper
    with _guard:
        return _locks.setdefault(unet, threading.RLock())
