"""What the zoo is made of: stock pipelines around tiny parts of random weights, and how one is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor
from diffusers.models.embeddings import ImageProjection

from tests.models import tiny_sd15, tiny_sdxl

WIDTH, HEIGHT = 384, 256


def share_of_training(timestep: float) -> float:
    """The noise level that a timestep stands for."""
    return timestep / 1000


@dataclass
class Sample:
    """A pipeline, how it is called, and how its batch is laid out (None: no unconditional part)."""

    pipe: Any
    arguments: dict[str, Any]
    chunks: int = 2
    unconditional: int | None = 0
    whole: bool = False
    sized: bool = True  # whether the call takes width and height, or reads them off its picture
    level: Callable[[float], float] = share_of_training  # timestep → noise level

    def draw(self, **changes: Any) -> torch.Tensor:
        """Latents of one call, always from the same seed."""
        size = {"width": WIDTH, "height": HEIGHT} if self.sized else {}
        common = {"generator": torch.Generator().manual_seed(3), "output_type": "latent"}
        return self.pipe(**{"num_inference_steps": 2} | size | common | self.arguments | changes)[0]


def picture(seed: int = 5) -> torch.Tensor:
    """Noise as a picture, (1, 3, H, W) in [0, 1]."""
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def mask() -> torch.Tensor:
    """The left half is to be drawn anew, (1, 1, H, W)."""
    filled = torch.zeros(1, 1, HEIGHT, WIDTH)
    filled[..., : WIDTH // 2] = 1
    return filled


PROMPT = {"prompt": "a red apple", "guidance_scale": 4.0}
FROM_PICTURE = {**PROMPT, "strength": 0.7, "num_inference_steps": 3}


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd(kind: str, unet: dict | None = None, **parts: Any) -> Any:
    """A pipeline of the class `kind` around Stable Diffusion 1.5's parts, with changes to its U-Net's configuration."""
    components = {**tiny_sd15().components, "requires_safety_checker": False}
    return _around(kind, components, unet, parts)


def xl(kind: str, unet: dict | None = None, **parts: Any) -> Any:
    """A pipeline of the class `kind` around SDXL's parts."""
    return _around(kind, dict(tiny_sdxl().components), unet, parts)


def _around(kind: str, components: dict, unet: dict | None, parts: dict) -> Any:
    if unet is not None:
        torch.manual_seed(1)
        components["unet"] = UNet2DConditionModel.from_config(components["unet"].config, **unet)
    cls = getattr(diffusers, kind)
    accepted = inspect.signature(cls.__init__).parameters
    known = {name: part for name, part in components.items() if name in accepted}
    return quiet(cls(**known | parts))


def controlnet(unet: UNet2DConditionModel, seed: int) -> ControlNetModel:
    """A ControlNet of a U-Net's layout whose output is not zero, as a fresh one's is."""
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8, 8))
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def load_ip_adapter(unet: UNet2DConditionModel) -> None:
    """IP-Adapter's parts, of random weights, by the names that its checkpoints have."""
    torch.manual_seed(2)
    width = unet.config.cross_attention_dim
    modules = dict(unet.named_modules())
    layers: dict[str, torch.Tensor] = {}
    for index, name in enumerate(n for n in unet.attn_processors if n.endswith("attn2.processor")):
        hidden = modules[name.removesuffix(".processor")].to_q.in_features
        weights = IPAdapterAttnProcessor(hidden, width).state_dict()
        for side in ("to_k_ip", "to_v_ip"):
            layers[f"{2 * index + 1}.{side}.weight"] = weights[f"{side}.0.weight"]
    projection = ImageProjection(cross_attention_dim=width, image_embed_dim=width, num_image_text_embeds=4)
    names = {"image_embeds": "proj", "norm": "norm"}
    image = {
        f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value
        for key, value in projection.state_dict().items()
    }
    unet._load_ip_adapter_weights([{"image_proj": image, "ip_adapter": layers}])
