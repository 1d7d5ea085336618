"""What of ComfyUI the nodes touch, small: a U-Net in its layout, a model around it, and MODELs that share that.

ComfyUI is on no registry. The U-Net is laid out and named as its `openaimodel.py` does it, out of the weights of a
diffusers U-Net, so that what it draws can be held against diffusers; the rest keeps to `model_base.py` (networks are
told σ and answer with the picture), `ops.py` (convolutions that cast their weights) and `model_patcher.py` (copies
share the network, their options are copied deeply).
"""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn


class CastingConv2d(nn.Conv2d):
    """As `comfy.ops`: the forward is its own, and ends in `_conv_forward`."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight.to(input.dtype), None if self.bias is None else self.bias.to(input.dtype)
        return self._conv_forward(input, weight, bias)


class ResBlock(nn.Module):
    def __init__(self, resnet: Any):
        super().__init__()
        self.in_layers = nn.Sequential(resnet.norm1, nn.SiLU(), resnet.conv1)
        self.emb_layers = nn.Sequential(nn.SiLU(), resnet.time_emb_proj)
        self.out_layers = nn.Sequential(resnet.norm2, nn.SiLU(), nn.Dropout(0), resnet.conv2)
        self.skip_connection = resnet.conv_shortcut or nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(emb)[..., None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class Downsample(nn.Module):
    def __init__(self, sampler: Any):
        super().__init__()
        self.op = sampler.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, sampler: Any):
        super().__init__()
        self.conv = sampler.conv

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        return self.conv(nn.functional.interpolate(x, size=size, mode="nearest"))


class Blocks(nn.Sequential):
    """`TimestepEmbedSequential`: gives each layer what it takes."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor, size: torch.Size | None = None) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, Upsample):
                x = layer(x, size)
            elif isinstance(layer, Downsample | nn.Conv2d):
                x = layer(x)
            else:
                x = layer(x, encoder_hidden_states=context).sample
        return x


class UNetModel(nn.Module):
    """A diffusers U-Net (without SDXL's added conditions) in the original layout, with weights of its own."""

    def __init__(self, unet: Any):
        super().__init__()
        unet = copy.deepcopy(unet)
        self.time_proj, self.time_embed = unet.time_proj, unet.time_embedding
        self.input_blocks = nn.ModuleList([Blocks(unet.conv_in)])
        for block in unet.down_blocks:
            for resnet, attention in _pairs(block):
                self.input_blocks.append(Blocks(ResBlock(resnet), *attention))
            if block.downsamplers:
                self.input_blocks.append(Blocks(Downsample(block.downsamplers[0])))
        first, second = unet.mid_block.resnets
        self.middle_block = Blocks(ResBlock(first), unet.mid_block.attentions[0], ResBlock(second))
        self.output_blocks = nn.ModuleList()
        for block in unet.up_blocks:
            for resnet, attention in _pairs(block):
                self.output_blocks.append(Blocks(ResBlock(resnet), *attention))
            if block.upsamplers:
                self.output_blocks[-1].append(Upsample(block.upsamplers[0]))
        self.out = nn.Sequential(unet.conv_norm_out, nn.SiLU(), unet.conv_out)
        for module in self.modules():
            if type(module) is nn.Conv2d:
                module.__class__ = CastingConv2d

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        emb = self.time_embed(self.time_proj(timesteps))
        passed = []
        for block in self.input_blocks:
            x = block(x, emb, context)
            passed.append(x)
        x = self.middle_block(x, emb, context)
        for block in self.output_blocks:
            x = torch.cat([x, passed.pop()], dim=1)
            x = block(x, emb, context, passed[-1].shape[-2:] if passed else None)
        return self.out(x)


def _pairs(block: Any) -> list[tuple[Any, list]]:
    attentions = getattr(block, "attentions", None)
    return [(resnet, [attentions[i]] if attentions else []) for i, resnet in enumerate(block.resnets)]


class Sampling:
    """`ModelSamplingDiscrete` on Stable Diffusion's schedule."""

    def __init__(self) -> None:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        kept = (1 - betas).cumprod(0)
        self.num_timesteps = 1000
        self.sigmas = ((1 - kept) / kept).sqrt().float()

    def timestep(self, sigma: Tensor) -> Tensor:
        distance = sigma.log() - self.sigmas.log()[:, None]
        return distance.abs().argmin(dim=0).view(sigma.shape)

    def sigma(self, timestep: Tensor) -> Tensor:
        return self.sigmas[timestep.long()]


class CONST:
    """ComfyUI's name for a rectified flow."""


class Flow(CONST):
    """`ModelSamplingDiscreteFlow`, composed as ModelSamplingSD3 composes it, with a shift of 1."""

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * 1000

    def sigma(self, timestep: Tensor) -> Tensor:
        return timestep / 1000


LATENT_SCALE = 0.18215


class BaseModel(nn.Module):
    """`model_base.BaseModel`: (x, σ) → the picture without its noise."""

    def __init__(self, unet: nn.Module, context: int, model_type: str = "EPS"):
        super().__init__()
        self.diffusion_model = unet
        self.model_sampling = Sampling()
        self.model_config = SimpleNamespace(unet_config={"context_dim": context})
        self.model_type = SimpleNamespace(name=model_type)

    def apply_model(self, x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        options = conditions.get("transformer_options", {})
        return Executor(self._apply_model, self, _all(options.get("wrappers", {}).get("apply_model", {})))(
            x, t, **conditions
        )

    def _apply_model(self, x: Tensor, t: Tensor, c_crossattn: Tensor, **_: Any) -> Tensor:
        sigma = t.view(-1, 1, 1, 1)
        flow = isinstance(self.model_sampling, CONST)
        timestep = self.model_sampling.timestep(t).float()
        noise = self.diffusion_model(x if flow else x / (sigma**2 + 1) ** 0.5, timestep, c_crossattn)
        return x - noise * sigma

    def process_latent_in(self, latents: Tensor) -> Tensor:
        return latents * LATENT_SCALE


class Executor:
    """`patcher_extension.WrapperExecutor`: a function inside wrappers, the first of them outermost."""

    def __init__(self, function: Any, class_obj: Any, wrappers: list):
        self.class_obj = class_obj
        self._function, self._wrappers = function, wrappers

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._wrappers:
            return self._function(*args, **kwargs)
        first, *others = self._wrappers
        return first(Executor(self._function, self.class_obj, others), *args, **kwargs)


def _all(by_key: dict[str, list]) -> list:
    return [wrapper for wrappers in by_key.values() for wrapper in wrappers]


class ModelPatcher:
    """A MODEL."""

    def __init__(self, model: BaseModel):
        self.model = model
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.wrappers: dict[str, dict[str, list]] = {}

    def clone(self, model: BaseModel | None = None) -> ModelPatcher:
        """A copy; around another network where `model` is given, as torch.compile's node makes it."""
        other = ModelPatcher(model or self.model)
        other.model_options = copy.deepcopy(self.model_options)
        other.wrappers = {
            kind: {key: list(all_) for key, all_ in by_key.items()} for kind, by_key in self.wrappers.items()
        }
        return other

    def get_model_object(self, name: str) -> Any:
        return getattr(self.model, name)

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        self.wrappers.setdefault(kind, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, kind: str, key: str) -> None:
        self.wrappers.get(kind, {}).pop(key, None)

    def set_model_unet_function_wrapper(self, wrapper: Any) -> None:
        self.model_options["model_function_wrapper"] = wrapper

    def set_model_sampler_post_cfg_function(self, function: Any) -> None:
        self.model_options.setdefault("sampler_post_cfg_function", []).append(function)


class Guider:
    """`samplers.CFGGuider`, of which a sampling is a call."""

    def __init__(self, model: ModelPatcher):
        self.model = model
        self.model_options = copy.deepcopy(model.model_options)

    @torch.no_grad()
    def sample(self, x: Tensor, sigmas: list[float], context: Tensor) -> list[Tensor]:
        """One call of the network at each σ; what it answered."""
        return Executor(self._sample, self, _all(self.model.wrappers.get("outer_sample", {})))(
            x, sigmas, context
        )

    def _sample(self, x: Tensor, sigmas: list[float], context: Tensor) -> list[Tensor]:
        options = self.model_options["transformer_options"] | {"sample_sigmas": torch.tensor(sigmas)}
        return [predict(self.model, x, sigma, context, copy.deepcopy(options)) for sigma in sigmas]


@torch.no_grad()
def predict(
    model: Any, x: Tensor, sigma: float, context: Tensor, options: dict[str, Any] | None = None
) -> Tensor:
    """One call as `samplers.calc_cond_batch` makes it; without `options` ComfyUI does not say what it is part of."""
    t = torch.full((x.shape[0],), sigma)
    c = {"c_crossattn": context, "transformer_options": (options or {}) | {"wrappers": model.wrappers}}
    wrapper = model.model_options.get("model_function_wrapper")
    if wrapper is None:
        return model.model.apply_model(x, t, **c)
    return wrapper(
        model.model.apply_model, {"input": x, "timestep": t, "c": c, "cond_or_uncond": [0] * x.shape[0]}
    )
