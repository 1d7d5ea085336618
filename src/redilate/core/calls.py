"""A U-Net's call and what it returns, however a pipeline writes them; and whether the network is built as it was."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import Any

from torch import Tensor, nn


def argument_of(args: tuple, kwargs: dict, place: int, name: str) -> Any:
    """One of a U-Net call's arguments, however it was passed: 0 `sample`, 1 `timestep`."""
    return args[place] if len(args) > place else kwargs[name]


def condition_of(args: tuple, kwargs: dict) -> Tensor | None:
    """The text embeddings of a U-Net call, None where they are no tensor."""
    found = args[2] if len(args) > 2 else kwargs.get("encoder_hidden_states")
    return found if isinstance(found, Tensor) else None


def sample_of(output: Any) -> Tensor:
    """The prediction in what a U-Net returned: a tuple or one of diffusers' output classes."""
    return output[0] if isinstance(output, tuple) else output.sample


def with_sample(output: Any, sample: Tensor) -> Any:
    """What a U-Net returned, with another prediction."""
    if isinstance(output, tuple):
        return (sample, *output[1:])
    return type(output)(sample=sample)


_CHILDREN, _ATTRIBUTES = attrgetter("_modules"), attrgetter("__dict__")


class Structure:
    """What a network is built of, as it stands: its modules themselves, and what decides how they compute.

    Modules are told apart by identity, not counted: a LoRA that takes the place of another of the same layout is
    another structure. They are held, so that no new one can have the address of one that is gone.

    Args:
        root: the network.
    """

    def __init__(self, root: nn.Module):
        self._modules = list(root.modules())
        self._convolutions = [module for module in self._modules if isinstance(module, nn.Conv2d)]
        self._adapters = [module for module in self._modules if "base_layer" in module._modules]
        self._found = self._look()

    def holds(self) -> bool:
        """Whether nothing has been put in, taken out, exchanged, quantised or merged since."""
        # Lists compare by identity first, so this is fast; a module that is new stands under one that is known.
        return self._look() == self._found

    def _look(self) -> tuple[list, ...]:
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
