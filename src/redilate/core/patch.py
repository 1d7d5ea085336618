"""Installing a plan on a U-Net, and taking it off without a trace.

Two of torch's own hooks on the root do all the work: before each call they read the noise level and set every
convolution's dilation; after it, where ND-CFG asks for it, they evaluate the mild network on the ∅ part and add Δ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from .conv import Dispersion, RedilatedConv2d, exchange, restore, set_factor
from .geometry import Dilation, Fractional
from .guidance import GuidanceLayout, damp, take_unconditional

_MARK = "_redilate_patch"


class Redilating(Protocol):
    """What a patch asks of a plan."""

    @property
    def fractional(self) -> Fractional: ...
    @property
    def dispersions(self) -> Mapping[str, Dispersion]: ...
    def dilations(self, noise_level: float, /) -> Mapping[str, Dilation]: ...
    def mild_dilations(self, noise_level: float, /) -> Mapping[str, Dilation] | None: ...


class Patch:
    """A plan at work on one U-Net.

    Args:
        root: the module that the pipeline calls; hooks go here.
        convolutions: root → every convolution that a plan may name, by the plan's names (one name may have several:
            a LoRA's base layer and its down-projection). Asked again when modules come or go.
        plan_for_size: latent (height, width) → plan; asked again whenever the size changes.
        noise_level: timestep argument → noise level in [0, 1].
        guidance: → the guidance layout of the call under way, None where there is no ∅ part.
    """

    def __init__(
        self,
        root: nn.Module,
        convolutions: Callable[[nn.Module], Mapping[str, list[nn.Conv2d]]],
        plan_for_size: Callable[[tuple[int, int]], Redilating],
        noise_level: Callable[[Any], float],
        guidance: Callable[[], GuidanceLayout | None],
    ):
        self._root = root
        self._convolutions = convolutions
        self._plan_for_size = plan_for_size
        self._noise_level = noise_level
        self._guidance = guidance
        self._seen: tuple[int, int, int] | None = None  # latent height and width, number of modules
        self.plan: Redilating | None = None
        self._exchanged: dict[str, list[nn.Conv2d]] = {}
        self._inside = False  # the mild evaluation calls the root again, hooks and all
        self._hooks = [
            root.register_forward_pre_hook(self._before, with_kwargs=True),
            root.register_forward_hook(self._after, with_kwargs=True),
        ]
        root.__dict__[_MARK] = self

    def remove(self) -> None:
        """Restore every class and drop the hooks; safe to call twice."""
        for hook in self._hooks:
            hook.remove()
        self._release()
        if self._root.__dict__.get(_MARK) is self:
            del self._root.__dict__[_MARK]

    def _release(self) -> None:
        # All that bear the class, not only those exchanged here: a LoRA loaded meanwhile has copied it.
        for module in self._root.modules():
            if isinstance(module, RedilatedConv2d):
                restore(module)
        self._exchanged = {}
        self._seen = None

    def use(self, size: tuple[int, int]) -> Redilating:
        """Install the plan for latents of `size` (height, width) unless it is installed already."""
        # A LoRA loaded after the patch wraps convolutions and brings its own: the count of modules tells.
        seen = (*size, sum(1 for _ in self._root.modules()))
        if self.plan is None or seen != self._seen:
            self.plan = self._plan_for_size(size)
            self._release()
            self._install(self.plan)
            self._seen = seen
        return self.plan

    def _install(self, plan: Redilating) -> None:
        convolutions = self._convolutions(self._root)
        for name in sorted(plan.dilations(1.0).keys() | (plan.mild_dilations(1.0) or {}).keys()):
            for conv in convolutions[name]:
                exchange(conv, plan.dispersions.get(name), plan.fractional)
            self._exchanged[name] = convolutions[name]

    def _set(self, dilations: Mapping[str, Dilation]) -> None:
        for name, convolutions in self._exchanged.items():
            for conv in convolutions:
                set_factor(conv, dilations.get(name, (1.0, 1.0)))

    def _before(self, root: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._inside:
            return
        plan = self.use(_latent_size(args, kwargs))
        self._set(plan.dilations(self._noise_level(_argument(args, kwargs, 1, "timestep"))))

    def _after(self, root: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        if self._inside or self.plan is None:
            return output
        noise_level = self._noise_level(_argument(args, kwargs, 1, "timestep"))
        mild_dilations = self.plan.mild_dilations(noise_level)
        layout = self._guidance() if mild_dilations is not None else None
        sample = _argument(args, kwargs, 0, "sample")
        if mild_dilations is None or layout is None or sample.shape[0] % layout.chunks:
            return output
        part_args, part_kwargs = take_unconditional((args, kwargs), sample.shape[0], layout)
        self._set(mild_dilations)
        self._inside = True
        try:
            mild = root(*part_args, **part_kwargs)
        finally:
            self._inside = False
        return _with_sample(output, damp(_sample(output), _sample(mild), layout, sample.shape[1]))


def find_patch(root: nn.Module) -> Patch | None:
    """The patch at work on `root`, if there is one; also on a deep copy of a patched module."""
    return root.__dict__.get(_MARK)


def _argument(args: tuple, kwargs: dict, place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs[name]


def _latent_size(args: tuple, kwargs: dict) -> tuple[int, int]:
    height, width = _argument(args, kwargs, 0, "sample").shape[-2:]
    return height, width


def _sample(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output.sample


def _with_sample(output: Any, sample: Tensor) -> Any:
    """`output` with its sample exchanged: a tuple or one of diffusers' output classes."""
    if isinstance(output, tuple):
        return (sample, *output[1:])
    return type(output)(sample=sample)
