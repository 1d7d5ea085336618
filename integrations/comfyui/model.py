"""MODEL → MODEL: a copy whose network is re-dilated, for the time of each call and no longer.

ComfyUI's MODELs are light copies (`ModelPatcher.clone`) around one network. Nothing of ours may stay on that network,
or the copies would feel one another: so it is dressed when a call comes through this copy, and undressed after it,
also after an exception. What a copy carries is one function in its options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from torch import nn

from redilate.core.conv import exchange, restore, set_factor
from redilate.errors import RedilateError
from redilate.plans.plan import Plan
from redilate.plans.planner import UNTIL, default_plan

from .layout import convolutions
from .native import native_side, noise_level, ratio

_WRAPPER = "model_function_wrapper"
Size = tuple[int, int]


def redilate_model(model: Any, native_size: int = 0, until: float = UNTIL, plan: str = "") -> Any:
    """A copy of a MODEL that is re-dilated at whatever size it is sampled at.

    Args:
        model: ComfyUI's `ModelPatcher`; left as it is.
        native_size: the side in pixels that the checkpoint was trained at; 0: told from its configuration.
        until: the noise level below which it runs as trained.
        plan: a plan as JSON (`redilate plan --output`) in place of the one that follows from the size.

    Raises:
        RedilateError: if the model is no U-Net, its native size is not known, or the plan is none or not for it.
    """
    base = model.model
    known = convolutions(base.diffusion_model)
    plans = _plans(base, list(known), native_size, until, plan)
    patched = model.clone()
    previous = patched.model_options.get(_WRAPPER)
    patched.set_model_unet_function_wrapper(_wrapper(base, plans, previous))
    return patched


def _plans(base: Any, names: list[str], native_size: int, until: float, text: str) -> Callable[[Size], Plan]:
    """Latent (height, width) → plan."""
    if text.strip():
        plan = _read(text, names)
        return lambda _: plan
    native = native_side(base, native_size)

    def for_size(size: Size) -> Plan:
        return default_plan(names, ratio(base, size, native)).model_copy(update={"until": until})

    return for_size


def _read(text: str, names: list[str]) -> Plan:
    try:
        plan = Plan.model_validate_json(text)
    except ValidationError as error:
        raise RedilateError(f"this is not a plan: {error.errors()[0]['msg']}") from error
    if plan.noise_damping is not None:
        raise RedilateError(
            "this plan has noise_damping (ND-CFG), which this node does not do; set it to null"
        )
    if plan.windows is not None:
        raise RedilateError("this plan has windows, which this node does not do; set it to null")
    if unknown := sorted(plan.dilation.keys() - set(names)):
        raise RedilateError(f"the plan names {unknown[0]!r}, which this model does not have")
    return plan


def _wrapper(base: Any, plans: Callable[[Size], Plan], previous: Callable | None) -> Callable:
    # A function and no object: older ComfyUI deep-copies a MODEL's options, and an object would take the network along.
    def redilated(apply_model: Callable, arguments: dict[str, Any]) -> Any:
        latents = arguments["input"]
        level = noise_level(base.model_sampling, arguments["timestep"])
        with dressed(base.diffusion_model, plans((latents.shape[-2], latents.shape[-1])), level):
            if previous is not None:
                return previous(apply_model, arguments)
            return apply_model(latents, arguments["timestep"], **arguments["c"])

    return redilated


@contextmanager
def dressed(unet: nn.Module, plan: Plan, level: float) -> Iterator[None]:
    """The network with the plan's dilations at a noise level, for the time of a `with`."""
    factors = {name: factor for name, factor in plan.dilations(level).items() if factor != (1.0, 1.0)}
    if not factors:
        yield
        return
    known = convolutions(unet)
    try:
        for name, factor in factors.items():
            exchange(known[name], plan.dispersions.get(name), plan.fractional_of(name))
            set_factor(known[name], factor)
        yield
    finally:
        for name in factors:
            restore(known[name])
