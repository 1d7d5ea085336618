"""ND-CFG for diffusers' modular pipelines, which call the U-Net once for each condition and have a guider.

    pipe.update_components(guider=NoiseDampedGuidance(guidance_scale=5))
    with redilate.apply(pipe):
        ...

Without it a modular pipeline can be re-dilated too, with its own guidance.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.guiders.guider_utils import GuiderOutput
from torch import nn

from ..core.patch import Patch, find_patch
from .apply import call_under_way
from .families import unwrap


class NoiseDampedGuidance(ClassifierFreeGuidance):
    """Classifier-free guidance with the mildly re-dilated network's denoising (ScaleCrafter, equation 7).

    ε(x, ∅) + w (ε̃(x, c) − ε̃(x, ∅)), in three calls of the U-Net. If the plan has no ND-CFG at the noise level, it is
    ordinary guidance in two calls.

    Args:
        guidance_scale: w; 1 means no guidance.
        start, stop: the shares of the steps, in [0, 1], between which there is guidance.
        enabled: False for no guidance.
    """

    _input_predictions = ["pred_cond", "pred_uncond", "pred_uncond_mild"]  # noqa: RUF012 (diffusers wants a list)

    @register_to_config
    def __init__(
        self, guidance_scale: float = 7.5, start: float = 0.0, stop: float = 1.0, enabled: bool = True
    ):
        super().__init__(guidance_scale=guidance_scale, start=start, stop=stop, enabled=enabled)

    def prepare_inputs(self, data: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> list[Any]:
        """One batch for each call of the U-Net: condition, ∅, and ∅ again for the mild network."""
        sources = zip((0, 1, 1)[: self.num_conditions], self._input_predictions, strict=False)
        return [self._prepare_batch(data, source, name) for source, name in sources]

    def prepare_models(self, denoiser: nn.Module) -> None:
        """Called before each call of the U-Net; the third is the mild network's."""
        super().prepare_models(denoiser)
        patch = find_patch(unwrap(denoiser))
        if patch is not None:
            patch.mild = self._count_prepared == len(self._input_predictions)

    def cleanup_models(self, denoiser: nn.Module) -> None:
        """Called after each call of the U-Net."""
        super().cleanup_models(denoiser)
        patch = find_patch(unwrap(denoiser))
        if patch is not None:
            patch.mild = False

    def forward(
        self,
        pred_cond: torch.Tensor,
        pred_uncond: torch.Tensor | None = None,
        pred_uncond_mild: torch.Tensor | None = None,
    ) -> GuiderOutput:
        """The guided prediction, of the shape of `pred_cond`."""
        guided = super().forward(pred_cond, pred_uncond)
        if pred_uncond is None or pred_uncond_mild is None:
            return guided
        return GuiderOutput(
            pred=guided.pred + (pred_uncond_mild - pred_uncond), pred_cond=pred_cond, pred_uncond=pred_uncond
        )

    @property
    def num_conditions(self) -> int:
        """How many calls of the U-Net this step takes."""
        guided = super().num_conditions
        return 3 if guided == 2 and self._is_damped() else guided

    def _is_damped(self) -> bool:
        patch = _patch_of_caller()
        # Without a timestep, before the loop, a pipeline asks whether to encode ∅.
        if patch is None or self._timestep is None:
            return False
        # The plan for the size is known only after the first call, which therefore always evaluates ε.
        return self._step == 0 or patch.is_damped(self._timestep)


def _patch_of_caller() -> Patch | None:
    call = call_under_way()
    return None if call is None else find_patch(unwrap(call.pipeline.unet))
