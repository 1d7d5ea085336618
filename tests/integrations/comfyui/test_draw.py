"""The one node: its legs are sampled one after the other, enlarged in pixels and tied, with ComfyUI stood in for."""

import pytest
import torch

from integrations.comfyui import draw as node
from integrations.comfyui.draw import Leg
from integrations.comfyui.native import even_sigmas, noise_level
from redilate import RedilateError
from redilate.core.schedule import low_pass
from redilate.plans.defaults import leg_seed
from tests.integrations.comfyui.host import (
    LATENT_SCALE,
    BaseModel,
    Flow,
    ModelPatcher,
    Sampling,
    UNetModel,
)
from tests.models import tiny_sd15


class Autoencoder:
    """8 × 8 pixels to one latent and back: their mean. Not of the kind that can be run in strips."""

    first_stage_model = None

    def decode(self, latents):
        pixels = latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)
        return pixels.movedim(1, -1)

    def encode(self, pixels):
        latents = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat([latents, latents[:, :1]], 1)


@pytest.fixture
def model():
    return ModelPatcher(BaseModel(UNetModel(tiny_sd15().unet), context=768))


@pytest.fixture
def calls(monkeypatch):
    """What is asked of ComfyUI."""
    made = []

    def sample(model, latents, sigmas, **settings):
        made.append({"model": model, "latents": latents, "sigmas": sigmas, **settings})
        return torch.full_like(latents, 0.1 * len(made))

    def by_filter(pixels, width, height):
        moved = torch.nn.functional.interpolate(pixels.movedim(-1, 1), size=(height, width))
        return moved.movedim(1, -1)

    def by_network(network, pixels):
        return by_filter(pixels, network.scale * pixels.shape[2], network.scale * pixels.shape[1])

    monkeypatch.setattr(node.host, "sample", sample)
    monkeypatch.setattr(node.host, "scheduled", lambda model, name, steps: torch.linspace(14, 0, steps + 1))
    monkeypatch.setattr(node.host, "enlarged_by_filter", by_filter)
    monkeypatch.setattr(node.host, "enlarged_by_network", by_network)
    return made


def drawn(model, **given):
    settings = {
        "width": 0,
        "height": 0,
        "scale": 2.0,
        "strength": 0.45,
        "steps": 20,
        "cfg": 5.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "seed": 3,
        "native_size": 128,
    }
    return node.draw(model, Autoencoder(), "positive", "negative", **settings | given)


def test_a_picture_is_drawn_natively_enlarged_in_pixels_and_drawn_on(model, calls):
    image, latent = drawn(model)
    first, second = calls
    assert (
        first["latents"].shape == (1, 4, 16, 16) and not first["latents"].any() and len(first["sigmas"]) == 21
    )
    assert second["latents"].shape == (1, 4, 32, 32) and torch.allclose(second["latents"], torch.tensor(0.1))
    assert torch.equal(second["sigmas"], even_sigmas(Sampling(), 0.45, 9))
    assert [call["seed"] for call in calls] == [3, leg_seed(3, 1)]
    assert {call["cfg"] for call in calls} == {5.0} and {call["positive"] for call in calls} == {"positive"}
    assert image.shape == (1, 256, 256, 3) and latent["samples"].shape == (1, 4, 32, 32)
    assert all("redilate" in call["model"].wrappers["apply_model"] for call in calls)
    assert "sampler_post_cfg_function" not in first["model"].model_options
    assert model.wrappers == {} and model.model_options == {"transformer_options": {}}


def test_an_image_or_drawn_latents_are_enlarged_and_empty_ones_say_how_many(model, calls):
    drawn(model, image=torch.full((2, 128, 192, 3), 0.5))
    assert [call["latents"].shape for call in calls] == [(2, 4, 32, 48)]
    calls.clear()
    drawn(model, latent={"samples": torch.ones(1, 4, 16, 16)})
    assert [call["latents"].shape for call in calls] == [(1, 4, 32, 32)]
    calls.clear()
    drawn(model, latent={"samples": torch.zeros(3, 4, 16, 16)})
    assert [call["latents"].shape for call in calls] == [(3, 4, 16, 16), (3, 4, 32, 32)]


def test_an_upscale_model_makes_legs_of_its_own_scale(model, calls):
    network = type("Network", (), {"scale": 4})()
    drawn(model, image=torch.full((1, 128, 128, 3), 0.5), scale=4.0, upscale_model=network)
    assert [call["latents"].shape[-1] for call in calls] == [64]
    calls.clear()
    drawn(model, image=torch.full((1, 128, 128, 3), 0.5), scale=4.0)
    assert [call["latents"].shape[-1] for call in calls] == [32, 64]


def test_image_and_latent_together_are_refused(model, calls):
    with pytest.raises(RedilateError, match="leave one of them out"):
        drawn(model, image=torch.zeros(1, 128, 128, 3), latent={"samples": torch.zeros(1, 4, 16, 16)})
    assert not calls


def test_the_tie_gives_low_frequencies_of_the_picture_before_and_fades_over_half_of_the_leg(model):
    leg = Leg(128, 128, 0.4, 8)
    noise = torch.Generator().manual_seed(0)
    before, picture = torch.randn(2, 1, 4, 16, 16, generator=noise)
    (hold,) = node.tied(model, before, leg).model_options["sampler_post_cfg_function"]
    shares = []
    for sigma in even_sigmas(Sampling(), leg.start, leg.steps)[:-1]:
        changed = hold({"model": model.model, "denoised": picture, "sigma": sigma[None]}) - picture
        wanted = low_pass(before * LATENT_SCALE - picture, 2.0)
        shares.append(float((changed / wanted).mean()))
        assert torch.allclose(changed, shares[-1] * wanted, atol=1e-5)
    assert shares[:4] == pytest.approx([0.854, 0.5, 0.146, 0], abs=0.02) and not any(shares[4:])


@pytest.mark.parametrize("sampling", [Sampling(), Flow(), type("Continuous", (), {})()])
def test_steps_are_even_in_noise_level(sampling):
    sigmas = even_sigmas(sampling, 0.45, 9)
    levels = [noise_level(sampling, sigma[None]) for sigma in sigmas[:-1]]
    assert levels == pytest.approx([0.45 - 0.05 * index for index in range(9)], abs=0.002)
    assert sigmas[-1] == 0
