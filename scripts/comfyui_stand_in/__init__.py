"""A custom node for `scripts/comfyui.py`: checkpoints of random, tiny weights, and a witness of what is dilated.

CheckpointLoaderSimple is exchanged for one that needs no files: a U-Net of Stable Diffusion 1.5's or SDXL's layout with
32 channels, an autoencoder of Stable Diffusion's layout, and a text encoder that answers with noise. ComfyUI's own
classes do all the work. The witness knows nothing of Redilate: it sees each `conv2d` that torch is asked for.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import comfy.cldm.cldm
import comfy.controlnet
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import nodes
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL

SEEN = Path(os.environ["REDILATE_SEEN"])
_CHANNELS = 32
_SHARED = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": _CHANNELS,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
    "dtype": torch.float32,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "num_heads": 2,
}
_SD15 = _SHARED | {
    "adm_in_channels": None,
    "num_res_blocks": [1, 1, 1, 1],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [0, 0, 1, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 0, 1, 1, 0, 0],
    "use_linear_in_transformer": False,
    "context_dim": 768,
}
_OF_THE_DECODER = (
    "out_channels",
    "transformer_depth_output",
    "use_temporal_attention",
    "use_temporal_resblock",
)
_SDXL = _SHARED | {
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 0, 1, 1],
    "use_linear_in_transformer": True,
    "context_dim": 2048,
}
_AUTOENCODER = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": _CHANNELS,
    "ch_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


class Text:
    """A text encoder: the same noise for the same text."""

    def __init__(self, width: int):
        self._width = width

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str) -> list:
        noise = torch.Generator().manual_seed(len(text))
        states = torch.randn(1, 77, self._width, generator=noise)
        return [[states, {"pooled_output": torch.randn(1, 1280, generator=noise)}]]


class Witness:
    """Writes a line for each call of a U-Net: timestep, latent size, and (convolution, dilation) of those above 1."""

    def __init__(self, unet: torch.nn.Module):
        self._here = ""
        self._found: set = set()
        for name, module in unet.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_pre_hook(lambda *_, name=name: setattr(self, "_here", name))
        unet.register_forward_pre_hook(self._begin)
        unet.register_forward_hook(self._end)
        self._conv2d = torch.nn.functional.conv2d

    def _begin(self, _, args) -> None:
        self._found, self._here = set(), ""
        torch.nn.functional.conv2d = self._asked

    def _asked(self, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        step = dilation if isinstance(dilation, tuple) else (dilation, dilation)
        if max(step) > 1:
            self._found.add((self._here, tuple(step)))
        return self._conv2d(input, weight, bias, stride, padding, dilation, groups)

    def _end(self, _, args, output) -> None:
        torch.nn.functional.conv2d = self._conv2d
        call = {
            "timestep": float(args[1][0]),
            "size": list(args[0].shape[-2:]),
            "dilated": sorted([name, *step] for name, step in self._found),
            "number": len(Counter(name for name, _ in self._found)),
        }
        with SEEN.open("a") as file:
            file.write(json.dumps(call) + "\n")


class Loader:
    CATEGORY = "loaders"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    _made: dict = {}  # noqa: RUF012

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"ckpt_name": ("STRING", {"default": ""})}}

    @torch.no_grad()
    def load(self, ckpt_name: str):
        large = "xl" in ckpt_name
        if large not in self._made:
            self._made[large] = _model(large), Text(2048 if large else 768), _autoencoder()
        return self._made[large]


class AfterNodes:
    """What nodes after ours do to a MODEL: another network takes the place of its own, and a U-Net wrapper is set."""

    CATEGORY = "loaders"
    FUNCTION = "execute"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"model": ("MODEL",)}}

    def execute(self, model):
        changed = model.clone()
        changed.model = _model(large=False).model
        changed.set_model_unet_function_wrapper(lambda f, a: f(a["input"], a["timestep"], **a["c"]))
        return (changed,)


class Lora:
    """Changes weights as a LoRA does: by patches that ComfyUI adds when it loads the MODEL."""

    CATEGORY = "loaders"
    FUNCTION = "execute"
    RETURN_TYPES = ("MODEL",)
    INPUT_TYPES = AfterNodes.INPUT_TYPES

    def execute(self, model):
        changed, noise = model.clone(), torch.Generator().manual_seed(2)
        weights = {name: one for name, one in model.model_state_dict().items() if one.dim() == 4}
        patches = {
            name: ("diff", (0.01 * torch.randn(one.shape, generator=noise),)) for name, one in weights.items()
        }
        if not patches or set(changed.add_patches(patches)) != set(patches):
            raise ValueError("ComfyUI took none or not all of the LoRA's weights")
        return (changed,)


class ControlNet:
    """A ControlNet of the small Stable Diffusion 1.5, with random weights."""

    CATEGORY = "loaders"
    FUNCTION = "load"
    RETURN_TYPES = ("CONTROL_NET",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {}}

    def load(self):
        layout = {name: value for name, value in _SD15.items() if name not in _OF_THE_DECODER}
        network = comfy.cldm.cldm.ControlNet(
            **layout, hint_channels=3, operations=comfy.ops.manual_cast, device=torch.device("cpu")
        )
        _randomise(network, 3)
        device = comfy.model_management.get_torch_device()
        return (comfy.controlnet.ControlNet(network, load_device=device),)


class Fourfold:
    """An upscale model: each pixel becomes four by four."""

    CATEGORY = "loaders"
    FUNCTION = "load"
    RETURN_TYPES = ("UPSCALE_MODEL",)
    scale = 4
    model = torch.nn.Identity()

    def __init__(self):
        device = comfy.model_management.get_torch_device()
        self.patcher = comfy.model_patcher.ModelPatcher(self.model, device, torch.device("cpu"))

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {}}

    def load(self):
        return (Fourfold(),)

    def to(self, _):
        return self

    def __call__(self, pixels):
        return torch.nn.functional.interpolate(pixels, scale_factor=4)


def _model(large: bool):
    kind = comfy.supported_models.SDXL if large else comfy.supported_models.SD15
    config = kind(_SDXL if large else _SD15)
    config.unet_config["num_heads"], config.unet_config["num_head_channels"] = 2, -1
    config.unet_config["dtype"] = torch.float32
    model = config.get_model({}, "")
    _randomise(model.diffusion_model, 0)
    Witness(model.diffusion_model)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def _autoencoder():
    small = {"ddconfig": _AUTOENCODER, "embed_dim": 4}
    model = AutoencoderKL(**small)
    _randomise(model, 1)
    return comfy.sd.VAE(sd=model.state_dict(), config={"params": small})


def _randomise(model: torch.nn.Module, seed: int) -> None:
    """ComfyUI's layers start with whatever is in memory."""
    noise = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            fan = weight[0].numel()
            weight.data = torch.randn(weight.shape, generator=noise) / fan**0.5
        else:
            weight.data = torch.full(weight.shape, 1.0 if name.endswith("weight") else 0.0)


nodes.NODE_CLASS_MAPPINGS["CheckpointLoaderSimple"] = Loader
NODE_CLASS_MAPPINGS = {
    "StandInAfterNodes": AfterNodes,
    "StandInLora": Lora,
    "StandInControlNet": ControlNet,
    "StandInFourfold": Fourfold,
}
