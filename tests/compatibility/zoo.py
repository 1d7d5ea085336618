"""One tiny pipeline of each kind that diffusers has, of stock classes and random weights, and how it is called.

Every maker returns a `Sample`: 2 steps (3 for those that skip some) of a picture of 384×256, from a native 256×256.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel, VQModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor
from diffusers.models.embeddings import ImageProjection

from tests.models import tiny_sd15, tiny_sdxl

WIDTH, HEIGHT = 384, 256


@dataclass
class Sample:
    """A pipeline, how it is called, and how its batch is laid out (None: no unconditional part)."""

    pipe: Any
    arguments: dict[str, Any]
    chunks: int = 2
    unconditional: int | None = 0
    whole: bool = False
    sized: bool = True  # whether the call takes width and height, or reads them off its picture
    rows: list[int] = field(default_factory=list)

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


def text_to_image() -> Sample:
    return Sample(sd("StableDiffusionPipeline"), PROMPT)


def text_to_image_v() -> Sample:
    pipe = sd("StableDiffusionPipeline", {"use_linear_projection": True, "attention_head_dim": (2, 4, 4, 4)})
    pipe.scheduler = type(pipe.scheduler).from_config(
        pipe.scheduler.config, prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    return Sample(pipe, {**PROMPT, "guidance_rescale": 0.0})


def image_to_image() -> Sample:
    return Sample(sd("StableDiffusionImg2ImgPipeline"), {**FROM_PICTURE, "image": picture()}, sized=False)


def inpainting() -> Sample:
    arguments = {**FROM_PICTURE, "image": picture(), "mask_image": mask()}
    return Sample(sd("StableDiffusionInpaintPipeline"), arguments)


def inpainting_nine_channels() -> Sample:
    arguments = {**FROM_PICTURE, "image": picture(), "mask_image": mask()}
    return Sample(sd("StableDiffusionInpaintPipeline", {"in_channels": 9}), arguments)


def control() -> Sample:
    pipe = tiny_sd15()
    pipe = sd("StableDiffusionControlNetPipeline", controlnet=controlnet(pipe.unet, 7))
    return Sample(pipe, {**PROMPT, "image": picture()})


def several_controls() -> Sample:
    nets = [controlnet(tiny_sd15().unet, seed) for seed in (7, 8)]
    pipe = sd("StableDiffusionControlNetPipeline", controlnet=nets)
    return Sample(pipe, {**PROMPT, "image": [picture(), picture(6)]})


def adapter() -> Sample:
    torch.manual_seed(9)
    part = T2IAdapter(channels=[8, 16, 16, 16], num_res_blocks=1, downscale_factor=8)
    return Sample(sd("StableDiffusionAdapterPipeline", adapter=part), {**PROMPT, "image": picture()})


def image_prompt() -> Sample:
    pipe = sd("StableDiffusionPipeline")
    _load_ip_adapter(pipe.unet)
    embeds = torch.randn(
        2, 1, pipe.unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1)
    )
    return Sample(pipe, {**PROMPT, "ip_adapter_image_embeds": [embeds]})


def _load_ip_adapter(unet: UNet2DConditionModel) -> None:
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


def instructions() -> Sample:
    pipe = sd("StableDiffusionInstructPix2PixPipeline", {"in_channels": 8})
    arguments = {**PROMPT, "image": picture(), "image_guidance_scale": 1.5}
    return Sample(pipe, arguments, chunks=3, unconditional=2, sized=False)


def perturbed_attention() -> Sample:
    pipe = sd("StableDiffusionPAGPipeline", pag_applied_layers=["mid"])
    return Sample(pipe, {**PROMPT, "pag_scale": 2.0}, chunks=3, whole=True)


def perturbed_attention_alone() -> Sample:
    pipe = sd("StableDiffusionPAGPipeline", pag_applied_layers=["mid"])
    return Sample(pipe, {**PROMPT, "guidance_scale": 1.0, "pag_scale": 2.0}, chunks=2, unconditional=None)


def consistency() -> Sample:
    scheduler = diffusers.LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    pipe = sd("LatentConsistencyModelPipeline", {"time_cond_proj_dim": 8}, scheduler=scheduler)
    return Sample(pipe, {**PROMPT, "guidance_scale": 8.0}, chunks=1, unconditional=None)


def xl_text_to_image() -> Sample:
    return Sample(xl("StableDiffusionXLPipeline"), PROMPT)


def xl_image_to_image() -> Sample:
    pipe = xl("StableDiffusionXLImg2ImgPipeline")
    return Sample(pipe, {**FROM_PICTURE, "image": picture()}, sized=False)


def xl_inpainting() -> Sample:
    arguments = {**FROM_PICTURE, "image": picture(), "mask_image": mask()}
    return Sample(xl("StableDiffusionXLInpaintPipeline"), arguments)


def refiner() -> Sample:
    """SDXL's refiner: four levels, the second text encoder alone, an aesthetic score; it starts in mid-way."""
    layout = {
        "block_out_channels": (8, 16, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (1, 2, 2, 2),
        "transformer_layers_per_block": 1,
        "cross_attention_dim": 8,
        "projection_class_embeddings_input_dim": 5 * 8 + 8,
    }
    pipe = xl(
        "StableDiffusionXLImg2ImgPipeline",
        layout,
        text_encoder=None,
        tokenizer=None,
        requires_aesthetics_score=True,
    )
    latents = torch.randn(1, 4, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(4))
    return Sample(
        pipe,
        {**PROMPT, "image": latents, "denoising_start": 0.4, "num_inference_steps": 4},
        sized=False,
    )


def base_before_a_refiner() -> Sample:
    return Sample(xl("StableDiffusionXLPipeline"), {**PROMPT, "denoising_end": 0.5, "num_inference_steps": 4})


def xl_control() -> Sample:
    pipe = xl("StableDiffusionXLControlNetPipeline", controlnet=controlnet(tiny_sdxl().unet, 7))
    return Sample(pipe, {**PROMPT, "image": picture()})


def xl_adapter() -> Sample:
    torch.manual_seed(9)
    part = T2IAdapter(
        channels=[8, 16, 16, 16], num_res_blocks=1, downscale_factor=16, adapter_type="full_adapter_xl"
    )
    return Sample(xl("StableDiffusionXLAdapterPipeline", adapter=part), {**PROMPT, "image": picture()})


def xl_image_prompt() -> Sample:
    pipe = xl("StableDiffusionXLPipeline")
    _load_ip_adapter(pipe.unet)
    embeds = torch.randn(
        2, 1, pipe.unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1)
    )
    return Sample(pipe, {**PROMPT, "ip_adapter_image_embeds": [embeds]})


def xl_instructions() -> Sample:
    pipe = xl("StableDiffusionXLInstructPix2PixPipeline", {"in_channels": 8})
    arguments = {**PROMPT, "image": picture(), "image_guidance_scale": 1.5}
    return Sample(pipe, arguments, chunks=3, unconditional=2)


def xl_perturbed_attention() -> Sample:
    pipe = xl("StableDiffusionXLPAGPipeline", pag_applied_layers=["mid"])
    return Sample(pipe, {**PROMPT, "pag_scale": 2.0}, chunks=3, whole=True)


def pruned() -> Sample:
    """As SSD-1B and Vega: SDXL with fewer resnets and attention layers, and nothing in its middle."""
    layout = {"mid_block_type": None, "layers_per_block": 1, "transformer_layers_per_block": (1, 1, 1)}
    return Sample(xl("StableDiffusionXLPipeline", layout), PROMPT)


def kolors() -> Sample:
    """Kolors: SDXL's U-Net behind a projection of a language model's states, which are given here."""
    layout = {
        "encoder_hid_dim": 12,
        "encoder_hid_dim_type": "text_proj",
        "projection_class_embeddings_input_dim": 6 * 8 + 12,
    }
    pipe = xl("KolorsPipeline", layout, text_encoder=None, tokenizer=None)
    generator = torch.Generator().manual_seed(1)
    states = {name: torch.randn(1, 6, 12, generator=generator) for name in ("", "negative_")}
    pooled = {name: torch.randn(1, 12, generator=generator) for name in ("", "negative_")}
    arguments = {f"{name}prompt_embeds": value for name, value in states.items()}
    arguments |= {f"{name}pooled_prompt_embeds": value for name, value in pooled.items()}
    return Sample(pipe, {"guidance_scale": 4.0, **arguments})


def kandinsky() -> Sample:
    pipe, embeds = _kandinsky("KandinskyV22Pipeline", 4)
    return Sample(pipe, {"guidance_scale": 4.0, **embeds})


def kandinsky_inpainting() -> Sample:
    pipe, embeds = _kandinsky("KandinskyV22InpaintPipeline", 9)
    return Sample(pipe, {"guidance_scale": 4.0, **embeds, "image": 2 * picture() - 1, "mask_image": mask()})


def _kandinsky(kind: str, channels: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """Kandinsky 2.2's decoder: resnets as samplers, learned variance, an image embedding for text."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=channels,
        out_channels=8,
        addition_embed_type="image",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        encoder_hid_dim=8,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=8,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
    )
    movq = VQModel(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        num_vq_embeddings=12,
        norm_num_groups=8,
        norm_type="group",
        vq_embed_dim=4,
    )
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        variance_type="learned_range",
    )
    pipe = quiet(getattr(diffusers, kind)(unet=unet, scheduler=scheduler, movq=movq))
    generator = torch.Generator().manual_seed(1)
    names = ("image_embeds", "negative_image_embeds")
    return pipe, {name: torch.randn(1, 8, generator=generator) for name in names}


SAMPLES: dict[str, tuple[str, Callable[[], Sample]]] = {
    "Stable Diffusion 1.5, text to image": ("StableDiffusionPipeline", text_to_image),
    "Stable Diffusion 2.1, v-prediction": ("StableDiffusionPipeline", text_to_image_v),
    "Stable Diffusion, image to image": ("StableDiffusionImg2ImgPipeline", image_to_image),
    "Stable Diffusion, inpainting": ("StableDiffusionInpaintPipeline", inpainting),
    "Stable Diffusion, inpainting U-Net": ("StableDiffusionInpaintPipeline", inpainting_nine_channels),
    "Stable Diffusion, ControlNet": ("StableDiffusionControlNetPipeline", control),
    "Stable Diffusion, several ControlNets": ("StableDiffusionControlNetPipeline", several_controls),
    "Stable Diffusion, T2I-Adapter": ("StableDiffusionAdapterPipeline", adapter),
    "Stable Diffusion, IP-Adapter": ("StableDiffusionPipeline", image_prompt),
    "Stable Diffusion, InstructPix2Pix": ("StableDiffusionInstructPix2PixPipeline", instructions),
    "Stable Diffusion, PAG": ("StableDiffusionPAGPipeline", perturbed_attention),
    "Stable Diffusion, PAG without guidance": ("StableDiffusionPAGPipeline", perturbed_attention_alone),
    "Latent consistency model": ("LatentConsistencyModelPipeline", consistency),
    "SDXL, text to image": ("StableDiffusionXLPipeline", xl_text_to_image),
    "SDXL, image to image": ("StableDiffusionXLImg2ImgPipeline", xl_image_to_image),
    "SDXL, inpainting": ("StableDiffusionXLInpaintPipeline", xl_inpainting),
    "SDXL, base that hands over (denoising_end)": ("StableDiffusionXLPipeline", base_before_a_refiner),
    "SDXL, refiner (denoising_start)": ("StableDiffusionXLImg2ImgPipeline", refiner),
    "SDXL, ControlNet": ("StableDiffusionXLControlNetPipeline", xl_control),
    "SDXL, T2I-Adapter": ("StableDiffusionXLAdapterPipeline", xl_adapter),
    "SDXL, IP-Adapter": ("StableDiffusionXLPipeline", xl_image_prompt),
    "SDXL, InstructPix2Pix": ("StableDiffusionXLInstructPix2PixPipeline", xl_instructions),
    "SDXL, PAG": ("StableDiffusionXLPAGPipeline", xl_perturbed_attention),
    "SSD-1B, Vega (pruned U-Nets)": ("StableDiffusionXLPipeline", pruned),
    "Kolors": ("KolorsPipeline", kolors),
    "Kandinsky 2.2, decoder": ("KandinskyV22Pipeline", kandinsky),
    "Kandinsky 2.2, inpainting": ("KandinskyV22InpaintPipeline", kandinsky_inpainting),
}
