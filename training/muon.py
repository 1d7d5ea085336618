"""Muon: momentum whose matrix is made orthogonal before it is taken as a step (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# The quintic Newton-Schulz iteration of the authors: steep at zero, so that five rounds are enough.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Muon in float32, for matrices and for convolutions read as (out, in × height × width).

    torch.optim.Muon takes matrices alone and iterates in bfloat16, which processors without AMX or AVX-512-BF16 do
    far more slowly than float32.

    Args:
        parameters: of two or more dimensions.
        lr: scaled so that a step has the size of AdamW's at the same rate (Liu et al. 2025, arXiv 2502.16982).
        momentum, weight_decay: as for SGD and AdamW.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One step from the gradients that are there; a parameter without one is left alone."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(average, group["momentum"]).flatten(1)
                update = orthogonal(ahead) * (0.2 * max(ahead.shape) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view_as(parameter), alpha=group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """About U Vᵀ of `matrix` = U S Vᵀ: singular values between 0.7 and 1.2 (Newton-Schulz, five rounds)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found = wide / wide.norm().clamp(min=1e-7)
    for _ in range(_ROUNDS):
        gram = found @ found.T
        found = _A * found + (_B * gram + _C * gram @ gram) @ found
    return found if matrix.shape[0] <= matrix.shape[1] else found.T
