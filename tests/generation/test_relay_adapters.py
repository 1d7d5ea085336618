"""What people add to a pipeline goes on working through every stage of a relay: LoRA, ControlNet, IP-Adapter."""

import pytest
import torch
from peft import LoraConfig
from PIL import Image

import redilate
from redilate import Relay, Stage
from redilate.core.patch import find_patch
from redilate.generation.relay import Runner
from tests.compatibility.samples import controlnet, load_ip_adapter, quiet, xl
from tests.models import tiny_sd15, tiny_sdxl

NATIVE = Image.radial_gradient("L").convert("RGB")  # 256×256
RELAY = Relay(stages=(Stage(noise=0.5, share=1.0),))


def large_stage(pipe, **extra):
    """The large stage alone: what a picture at native size becomes."""
    runner = Runner(pipe, RELAY, (256, 256), (336, 336), steps=2, guidance=4.0, extra=extra)
    return runner.run(NATIVE, prompt="apple", negative=None, seed=0).tobytes()


def test_a_lora_on_convolutions_changes_the_large_stage_too():
    pipe = quiet(tiny_sdxl())
    bare = large_stage(pipe)
    torch.manual_seed(1)
    pipe.unet.add_adapter(LoraConfig(target_modules=["conv1", "to_q"], r=2, init_lora_weights=False))
    assert large_stage(pipe) != bare
    pipe.disable_lora()
    assert large_stage(pipe) == bare


def test_a_controlnet_follows_its_picture_at_every_size_and_is_dilated_with_the_unet():
    unet = tiny_sdxl().unet
    pipe = xl("StableDiffusionXLControlNetPipeline", controlnet=controlnet(unet, 2))
    sizes, kinds = [], set()

    def seen(module, args, kwargs):
        sizes.append(tuple(args[0].shape[-2:]))
        kinds.add((sizes[-1], type(module.mid_block.resnets[0].conv1).__name__))

    hook = pipe.controlnet.register_forward_pre_hook(seen, with_kwargs=True)
    picture = Image.radial_gradient("L").convert("RGB").resize((300, 200))
    made = {
        scale: redilate.generate(
            pipe,
            "apple",
            width=336,
            height=336,
            steps=2,
            mode="relay",
            relay=RELAY,
            extra={"image": picture, "controlnet_conditioning_scale": scale},
        )
        for scale in (0.0, 1.0)
    }
    hook.remove()
    assert sizes == ([(32, 32)] * 2 + [(42, 42)] * 2) * 2
    assert ((42, 42), "RedilatedConv2d") in kinds and ((32, 32), "Conv2d") in kinds
    assert made[0.0].images[0].tobytes() != made[1.0].images[0].tobytes()
    assert made[1.0].settings["extra"] == ["controlnet_conditioning_scale", "image"]
    assert find_patch(pipe.controlnet) is None


@pytest.mark.parametrize("maker", [tiny_sd15, tiny_sdxl])
def test_an_ip_adapter_is_followed_by_the_large_stage(maker):
    pipe = quiet(maker())
    load_ip_adapter(pipe.unet)
    width = pipe.unet.config.cross_attention_dim

    def embeds(seed):
        return [torch.randn(2, 1, width, generator=torch.Generator().manual_seed(seed))]

    one, same, other = (large_stage(pipe, ip_adapter_image_embeds=embeds(seed)) for seed in (1, 1, 2))
    assert one == same != other
