"""`Patch` puts a plan on a network and removes it without a trace.

It uses two torch hooks on the root. Before each call they read the noise level and set every convolution's dilation and
self-attention's windows; after it, where the plan has ND-CFG, they evaluate the mild network on the ∅ part and add Δ.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import RedilateError
from .conv import Dilation, Dispersion, Fractional, Pair, RedilatedConv2d, exchange, restore, set_dilation
from .guidance import GuidanceLayout, KeptDelta, add_delta, damping_delta
from .windows import (
    Layout,
    WindowedAttention,
    exchange_attention,
    lay_out,
    restore_attention,
    set_layout,
    shift_at,
)


def argument_of(args: tuple, kwargs: dict, place: int, name: str) -> Any:
    """A U-Net call's argument, positional or by name: 0 `sample`, 1 `timestep`."""
    return args[place] if len(args) > place else kwargs[name]


def condition_of(args: tuple, kwargs: dict) -> Tensor | None:
    """The text embeddings of a U-Net call, or None if they are not a tensor."""
    found = args[2] if len(args) > 2 else kwargs.get("encoder_hidden_states")
    return found if isinstance(found, Tensor) else None


def sample_of(output: Any) -> Tensor:
    """The prediction in a U-Net's output: a tuple or one of diffusers' output classes."""
    return output[0] if isinstance(output, tuple) else output.sample


def with_sample(output: Any, sample: Tensor) -> Any:
    """A U-Net's output with another prediction."""
    if isinstance(output, tuple):
        return (sample, *output[1:])
    return type(output)(sample=sample)


def take_unconditional(tree: Any, batch: int, layout: GuidanceLayout) -> Any:
    """The ∅ part of every tensor in nested arguments whose first axis is the batch.

    A first axis that is a multiple of `batch` (AnimateDiff's text, repeated for every frame) is cut in the same
    proportion. Everything else stays as it is.
    """

    def cut(tensor: Tensor) -> Tensor:
        if tensor.dim() == 0 or batch == 0 or tensor.shape[0] == 0 or tensor.shape[0] % batch:
            return tensor
        part = tensor.shape[0] // layout.chunks
        return tensor[layout.unconditional * part : (layout.unconditional + 1) * part]

    return _map(tree, cut)


def copy_containers(tree: Any) -> Any:
    """The same tensors in new lists and dicts: a U-Net empties a T2I-Adapter's list while it runs."""
    return _map(tree, lambda tensor: tensor)


def _map(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`change` on every tensor of nested lists, tuples and dicts."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _map(value, change) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(value, change) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(_map(value, change) for value in tree)
    return tree


_CHILDREN, _ATTRIBUTES = attrgetter("_modules"), attrgetter("__dict__")


class Structure:
    """A snapshot of a network's modules and of what decides how they compute.

    Modules are compared by identity: a LoRA that replaces another of the same layout is another structure. The snapshot
    holds references, so that no new module can have the address of a deleted one.
    """

    def __init__(self, root: nn.Module):
        self._modules = list(root.modules())
        self._convolutions = [module for module in self._modules if isinstance(module, nn.Conv2d)]
        self._adapters = [module for module in self._modules if "base_layer" in module._modules]
        self._found = self._read()

    def holds(self) -> bool:
        """Whether no module has been added, removed, exchanged, quantised or merged since."""
        # Lists compare by identity first, so this is fast. A new module is a child of a known one.
        return self._read() == self._found

    def _read(self) -> tuple[list, ...]:
        return (
            list(chain.from_iterable(children.values() for children in map(_CHILDREN, self._modules))),
            # Caches such as DeepCache replace it.
            [own["forward"] for own in map(_ATTRIBUTES, self._modules) if "forward" in own],
            # Not by `module.weight`, which a parametrisation would compute.
            [type(conv._parameters.get("weight")) for conv in self._convolutions],
            [
                (getattr(layer, "merged", False), getattr(layer, "disable_adapters", False))
                for layer in self._adapters
            ],
        )


_MARK = "_redilate_patch"


class Redilating(Protocol):
    """What a patch needs of a plan."""

    @property
    def damping_reuse(self) -> float: ...
    @property
    def dispersions(self) -> Mapping[str, Dispersion]: ...
    @property
    def low_passed(self) -> Set[str]: ...
    def fractional_of(self, name: str, /) -> Fractional: ...
    def dilations(self, noise_level: float, /) -> Mapping[str, Dilation]: ...
    def mild_dilations(self, noise_level: float, /) -> Mapping[str, Dilation] | None: ...
    def window_sizes(self, noise_level: float, /) -> Mapping[str, Pair]: ...


@dataclass(frozen=True)
class PatchContext:
    """What a patch needs to know of its pipeline.

    Attributes:
        convolutions: root → every convolution that a plan may name (a name may have two: a LoRA's base layer and its
            down-projection). Called again when modules change; raises for those that cannot be re-dilated.
        plan_for_size: latent (height, width) → plan; called again when the size changes.
        noise_level: timestep argument → noise level in [0, 1].
        guidance: → the current call's guidance layout, None if the batch has no ∅ part.
        channels: how many leading channels of the output are the prediction; None: all of them.
        partial: whether the root has only some of the modules that a plan names (a ControlNet has the encoder's).
        attentions: root → every self-attention that a plan may name, and its level: each side of its map is that of the
            latents divided by 2^level, rounded up.
    """

    convolutions: Callable[[nn.Module], Mapping[str, list[nn.Conv2d]]]
    plan_for_size: Callable[[tuple[int, int]], Redilating]
    noise_level: Callable[[Any], float]
    guidance: Callable[[], GuidanceLayout | None] = lambda: None
    channels: int | None = None
    partial: bool = False
    attentions: Callable[[nn.Module], Mapping[str, tuple[nn.Module, int]]] = lambda root: {}


@dataclass(frozen=True)
class _Damping:
    """The second evaluation that a call has yet to make, or the kept Δ that replaces it."""

    dilations: Mapping[str, Dilation]
    layout: GuidanceLayout
    batch: int
    noise_level: float
    args: tuple
    kwargs: dict
    delta: Tensor | None = None


class Patch:
    """A plan at work on one network.

    Attributes:
        plan: the plan in use, None until the first call has shown the size.
        mild: a guider that calls the network once for each condition sets this: the next calls then evaluate the mild
            network if the plan has one at their noise level.

    Args:
        root: the network whose convolutions are re-dilated.
        context: what it runs in.
        called: the module that the pipeline calls, if that is a wrapper around `root` (torch.compile's).
    """

    def __init__(self, root: nn.Module, context: PatchContext, called: nn.Module | None = None):
        self.plan: Redilating | None = None
        self.mild = False
        self._root = root
        self._context = context
        self._size: tuple[int, int] | None = None  # latent (height, width) that the plan is for
        self._structure: Structure | None = None  # of the root, when the plan was put on it
        self._exchanged: dict[str, list[nn.Conv2d]] = {}
        self._windowed: dict[str, tuple[nn.Module, int]] = {}  # self-attention, level
        self._in_mild_call = False  # the mild evaluation calls the root again, hooks and all
        self._installer = weakref.ref(threading.current_thread())
        self._calling: dict[str, int] = {}  # "thread": the one whose call is under way
        self._pending: _Damping | None = None
        self._kept: KeptDelta | None = None
        self._compiled: Callable[..., Any] | None = None
        self._hooks = []
        if called is None and root._compiled_call_impl is not None:
            # torch.compile would trace hooks on a module compiled in place into its graph.
            self._compiled, root._compiled_call_impl = root._compiled_call_impl, self._call_compiled
        else:
            called = root if called is None else called
            self._hooks = [
                called.register_forward_pre_hook(self._before, with_kwargs=True),
                # Also called after an exception, so that no call's tensors are kept.
                called.register_forward_hook(self._after, with_kwargs=True, always_call=True),
            ]
        root.__dict__[_MARK] = self

    def remove(self) -> None:
        """Restore every class and remove the hooks; no-op if this patch has been removed or replaced.

        Raises:
            RedilateError: while another thread's call is under way.
        """
        if self._root.__dict__.get(_MARK) is not self:
            return
        self._check_calls()
        for hook in self._hooks:
            hook.remove()
        if self._compiled is not None:
            self._root._compiled_call_impl, self._compiled = self._compiled, None
        self._release()
        self._pending = self._kept = None
        del self._root.__dict__[_MARK]

    def check_thread(self) -> None:
        """RedilateError if another living thread has put this patch on, or has a call under way."""
        installer = self._installer()
        if installer is not None and installer.is_alive() and installer is not threading.current_thread():
            raise RedilateError(
                f"another thread, {installer.name!r}, has re-dilated this {type(self._root).__name__}: threads whose "
                "pipelines share a network take turns (remove() in one before apply() in the next), or each has a "
                "network of its own"
            )
        self._check_calls()

    def _check_calls(self) -> None:
        if self._calling.get("thread", threading.get_ident()) != threading.get_ident():
            raise RedilateError(
                f"another thread's call of this re-dilated {type(self._root).__name__} is under way: threads whose "
                "pipelines share a network take turns, or each has a network of its own"
            )

    def plan_at(self, size: tuple[int, int]) -> Redilating:
        """The plan for latents of `size` (height, width)."""
        return self._context.plan_for_size(size)

    def is_damped(self, timestep: Any) -> bool:
        """Whether the plan in use has ND-CFG at `timestep`; False before the first call."""
        return (
            self.plan is not None
            and self.plan.mild_dilations(self._context.noise_level(timestep)) is not None
        )

    def _release(self) -> None:
        # All modules of the class, not only those exchanged here: a LoRA loaded meanwhile has copied it.
        for module in self._root.modules():
            if isinstance(module, RedilatedConv2d):
                restore(module)
            elif isinstance(module, WindowedAttention):
                restore_attention(module)
        self._exchanged, self._windowed = {}, {}
        self._structure = None

    def use(self, size: tuple[int, int]) -> Redilating:
        """Install the plan for latents of `size` (height, width) if it is not installed yet."""
        if self.plan is None or self._structure is None or size != self._size or not self._structure.holds():
            self._release()
            self.plan = self._context.plan_for_size(size)
            self._install(self.plan)
            self._size, self._structure = size, Structure(self._root)
        return self.plan

    def _install(self, plan: Redilating) -> None:
        convolutions = self._context.convolutions(self._root)
        for name in sorted(plan.dilations(1.0).keys() | (plan.mild_dilations(1.0) or {}).keys()):
            if self._context.partial and name not in convolutions:
                continue
            for conv in convolutions[name]:
                exchange(conv, plan.dispersions.get(name), plan.fractional_of(name), name in plan.low_passed)
            self._exchanged[name] = convolutions[name]
        if windows := plan.window_sizes(0.0):
            found = self._context.attentions(self._root)
            self._windowed = {
                name: found[name] for name in windows if name in found or not self._context.partial
            }
        for module, _ in self._windowed.values():
            exchange_attention(module)

    def _set(self, dilations: Mapping[str, Dilation]) -> None:
        for name, convolutions in self._exchanged.items():
            for conv in convolutions:
                set_dilation(conv, dilations.get(name, (1.0, 1.0)))

    def _set_windows(self, windows: Mapping[str, Pair], noise_level: float, sample: Tensor) -> None:
        layouts: dict[tuple[int, Pair], Layout | None] = {}
        for name, (module, level) in self._windowed.items():
            layout = None
            if window := windows.get(name):
                if (level, window) not in layouts:
                    size = (-(-sample.shape[-2] // 2**level), -(-sample.shape[-1] // 2**level))
                    layouts[level, window] = lay_out(size, window, shift_at(noise_level), sample.device)
                layout = layouts[level, window]
            set_layout(module, layout)

    def _before(self, root: nn.Module, args: tuple, kwargs: dict) -> None:
        # setdefault is atomic: only one of two threads is first.
        self._calling.setdefault("thread", threading.get_ident())
        self._check_calls()
        if self._in_mild_call:
            return
        self._pending = None
        sample = argument_of(args, kwargs, 0, "sample")
        plan = self.use((sample.shape[-2], sample.shape[-1]))
        noise_level = self._context.noise_level(argument_of(args, kwargs, 1, "timestep"))
        self._set_windows(plan.window_sizes(noise_level), noise_level, sample)
        mild = plan.mild_dilations(noise_level)
        if self.mild and mild is not None:
            self._set(mild)
            return
        self._set(plan.dilations(noise_level))
        layout = self._context.guidance() if mild is not None else None
        if mild is None or layout is None or sample.shape[0] % layout.chunks:
            self._kept = None
            return
        part = take_unconditional(sample, sample.shape[0], layout)
        kept, condition = self._kept, condition_of(args, kwargs)
        if kept is not None and kept.is_usable(noise_level, plan.damping_reuse, part, condition):
            self._pending = _Damping(mild, layout, sample.shape[0], noise_level, (), {}, kept.delta)
            return
        args, kwargs = copy_containers((args, kwargs))
        self._kept = None
        self._pending = _Damping(mild, layout, sample.shape[0], noise_level, args, kwargs)

    def _after(self, root: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        if self._in_mild_call or self._calling.get("thread") != threading.get_ident():
            return output
        try:
            damping, self._pending = self._pending, None
            if damping is None:
                return output
            if output is None:  # the network raised
                self._kept = None
                return None
            strong = sample_of(output)
            delta = damping.delta if damping.delta is not None else self._delta(root, damping, strong)
            return with_sample(output, add_delta(strong, delta, damping.layout))
        finally:
            self._calling.clear()

    def _delta(self, root: nn.Module, damping: _Damping, strong: Tensor) -> Tensor:
        """Evaluate the mild network; keep Δ if the plan lets later calls use it."""
        layout, inputs = damping.layout, (damping.args, damping.kwargs)
        if not layout.whole:
            inputs = take_unconditional(inputs, damping.batch, layout)
        self._set(damping.dilations)
        self._in_mild_call = True
        try:
            mild = sample_of(root(*inputs[0], **inputs[1]))
        finally:
            self._in_mild_call = False
        if layout.whole:
            mild = take_unconditional(mild, damping.batch, layout)
        delta = damping_delta(strong, mild, layout, self._context.channels)
        condition = condition_of(damping.args, damping.kwargs)
        if self.plan is not None and self.plan.damping_reuse > 0 and condition is not None:
            sample = argument_of(damping.args, damping.kwargs, 0, "sample")
            sample = take_unconditional(sample, damping.batch, layout)
            self._kept = KeptDelta(delta, damping.noise_level, sample, weakref.ref(condition))
        return delta

    def _call_compiled(self, *args: Any, **kwargs: Any) -> Any:
        """The hooks' work around a network that was compiled in place."""
        assert self._compiled is not None
        try:
            self._before(self._root, args, kwargs)
            output = self._compiled(*args, **kwargs)
        except BaseException:
            self._after(self._root, args, kwargs, None)
            raise
        return self._after(self._root, args, kwargs, output)


def find_patch(root: nn.Module) -> Patch | None:
    """The patch on `root`, or on the module that `root` is a deep copy of; None if there is none."""
    return root.__dict__.get(_MARK)
