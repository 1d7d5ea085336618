"""What a re-dilated network must compute, by networks whose `dilation` and `padding` attributes were changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import redilate
from redilate import NoiseDamping, Plan
from redilate.core.patch import copy_containers
from redilate.plans.plan import block_of, convolutions


def damped_plan(unet: nn.Module, until: float = 0.3) -> Plan:
    """Everything ×2 and ND-CFG, whose mild network is dilated in the deepest block alone."""
    names = convolutions(unet)
    deepest = "mid_block" if any(block_of(name) == "mid_block" for name in names) else "down_blocks.2"
    mild = {name: (2.0, 2.0) for name in names if block_of(name) == deepest}
    return Plan(
        dilation=dict.fromkeys(names, (2.0, 2.0)),
        until=until,
        noise_damping=NoiseDamping(dilation=mild, until=until, reuse=0.0),
    )


def spread(network: nn.Module, factors: dict[str, tuple[float, float]]) -> nn.Module:
    """A twin of `network` with other `dilation` and `padding` attributes: no code and no hook of ours in it."""
    twin = copy.deepcopy(network)
    redilate.remove(twin)
    twin._forward_hooks.clear()
    twin._forward_pre_hooks.clear()
    for name, several in convolutions(twin).items():
        for conv in several:
            height, width = (int(axis) for axis in factors.get(name, (1, 1)))
            conv.dilation, conv.padding = (height, width), (height, width)
    return twin


class Recorder:
    """Watches a network: every call's batch size and noise level, and what went into and came out of the first.

    Attributes:
        main: (batch, noise level) of each call that the pipeline made.
        extra: batch of each call that came on top, inside one of those.
        twin: the network as it stood at the first call.

    Args:
        level: timestep → noise level.
    """

    def __init__(
        self, network: nn.Module, level: Callable[[float], float] = lambda timestep: timestep / 1000
    ):
        self.main: list[tuple[int, float]] = []
        self.extra: list[int] = []
        self.twin: nn.Module | None = None
        self.inputs: tuple[tuple, dict] = ((), {})
        self.output: list[torch.Tensor] | None = None
        self._depth = 0
        self._level = level
        self._hooks = [
            network.register_forward_pre_hook(self._before, with_kwargs=True),
            network.register_forward_hook(self._after),
        ]

    def stop(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _before(self, network: nn.Module, args: tuple, kwargs: dict) -> None:
        sample = args[0] if args else kwargs["sample"]
        if self._depth:
            self.extra.append(sample.shape[0])
        else:
            timestep = args[1] if len(args) > 1 else kwargs["timestep"]
            self.main.append((sample.shape[0], self._level(float(timestep))))
        if self.twin is None:
            # Pipelines put attention processors in for the time of a call, so the copy is made inside it.
            self.twin = spread(network, {})
            self.inputs = copy_containers((args, kwargs))
        self._depth += 1

    def _after(self, network: nn.Module, args: tuple, output: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and self.output is None:
            # A container of ControlNets adds the next one's residuals to these in place.
            self.output = [tensor.clone() for tensor in tensors(output)]

    def recompute(self, factors: dict[str, tuple[float, float]]) -> Any:
        """What the first call would have given with these dilations."""
        assert self.twin is not None
        args, kwargs = copy_containers(self.inputs)
        with torch.no_grad():
            return spread(self.twin, factors)(*args, **kwargs)


def tensors(output: Any) -> list[torch.Tensor]:
    """A network's output as a flat list: a U-Net's sample, a ControlNet's residuals."""
    if isinstance(output, torch.Tensor):
        return [output]
    parts = output if isinstance(output, tuple | list) else output.to_tuple()
    return [tensor for part in parts for tensor in tensors(part)]
