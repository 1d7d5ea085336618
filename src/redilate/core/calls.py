"""What stands in a U-Net's call and in what it returns, however a pipeline writes them."""

from __future__ import annotations

from typing import Any

from torch import Tensor


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
