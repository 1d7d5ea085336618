"""The image-to-image pipeline around another one's parts."""

import pytest
import torch
from PIL import Image

from redilate.errors import RedilateError
from redilate.generation.pixels import to_tensor
from redilate.pipelines.schedulers import leg_scheduler
from redilate.pipelines.support import encode, image_to_image
from tests.models import tiny_sd15, tiny_sdxl


@pytest.fixture(scope="module", params=[tiny_sd15, tiny_sdxl], ids=["sd15", "sdxl"])
def pipe(request):
    return request.param()


def test_it_shares_every_network_and_not_the_scheduler(pipe):
    before = pipe.scheduler.config
    other = image_to_image(pipe)
    assert other.unet is pipe.unet and other.vae is pipe.vae and other.text_encoder is pipe.text_encoder
    assert other.scheduler is not pipe.scheduler and type(other.scheduler) is type(pipe.scheduler)
    assert leg_scheduler(other.scheduler).config.timestep_spacing == "trailing"
    assert pipe.scheduler.config is before and before.timestep_spacing == "leading"


def test_a_picture_is_encoded_as_the_pipeline_itself_would(pipe):
    """A call with the picture and a call with our latents differ by the encoder's sampling alone; here it has none."""
    noise = torch.rand(64, 96, 3, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray((noise * 255).to(torch.uint8).numpy())
    latents = encode(pipe, image)
    assert latents.shape == (1, 4, 8, 12)
    by_hand = pipe.vae.encode(2 * to_tensor(image) - 1).latent_dist.mean * pipe.vae.config.scaling_factor
    assert torch.allclose(latents, by_hand, atol=1e-6)


def test_a_shifted_latent_space_is_met(pipe):
    image = Image.new("RGB", (64, 64), "red")
    plain = encode(pipe, image)
    pipe.vae.register_to_config(latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[2.0] * 4)
    try:
        shifted = encode(pipe, image)
    finally:
        pipe.vae.register_to_config(latents_mean=None, latents_std=None)
    factor = pipe.vae.config.scaling_factor
    by_hand = (plain / factor - torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)) / 2 * factor
    assert torch.allclose(shifted, by_hand, atol=1e-6)


def test_a_pipeline_without_a_counterpart_is_refused_by_name(pipe):
    class OwnPipeline(type(pipe)):
        pass

    pipe_of_ones_own = OwnPipeline(**pipe.components)
    with pytest.raises(RedilateError, match="OwnPipeline"):
        image_to_image(pipe_of_ones_own)
