"""The relay node: what is enlarged, and what is left of the schedule."""

import pytest
import torch

from integrations.comfyui import NODE_CLASS_MAPPINGS
from integrations.comfyui.relay import relay
from redilate import RedilateError
from tests.integrations.comfyui.host import BaseModel, ModelPatcher, Sampling

MODEL = ModelPatcher(BaseModel(torch.nn.Identity(), context=768))
# Ten steps from timestep 999 to 99, and 0.
SIGMAS = torch.cat([Sampling().sigmas[torch.arange(999, 0, -100)], torch.zeros(1)])


def test_the_schedule_starts_at_the_noise_level_and_the_latent_has_the_size():
    flat = torch.full((2, 4, 16, 16), 0.5)
    latent, sigmas = relay(MODEL, {"samples": flat, "noise_mask": flat}, SIGMAS, 384, 256, start=0.7)
    assert torch.equal(sigmas, SIGMAS[3:])  # 699, 599, …
    assert latent.keys() == {"samples"} and latent["samples"].shape == (2, 4, 32, 48)
    assert torch.allclose(latent["samples"], torch.tensor(0.5))


def test_a_latent_of_that_size_is_left_as_it_is():
    samples = torch.randn(1, 4, 16, 16)
    latent, sigmas = relay(MODEL, {"samples": samples}, SIGMAS, 128, 128, start=1.0)
    assert torch.equal(latent["samples"], samples) and torch.equal(sigmas, SIGMAS)


@pytest.mark.parametrize(
    ("width", "height", "start", "says"),
    [(100, 128, 0.5, "width 100"), (128, 0, 0.5, "height 0"), (128, 128, 0.05, "no step at or below")],
)
def test_what_cannot_be_done_is_refused(width, height, start, says):
    with pytest.raises(RedilateError, match=says):
        relay(MODEL, {"samples": torch.zeros(1, 4, 16, 16)}, SIGMAS, width, height, start)


def test_the_node_of_the_older_form_takes_what_it_declares():
    node = NODE_CLASS_MAPPINGS["RedilateRelay"]
    inputs = node.INPUT_TYPES()["required"]
    given = {"model": MODEL, "latent": {"samples": torch.zeros(1, 4, 8, 8)}, "sigmas": SIGMAS}
    numbers = {name: settings["default"] for name, (_, settings) in list(inputs.items())[3:]}
    latent, sigmas = getattr(node(), node.FUNCTION)(**given | numbers)
    assert latent["samples"].shape == (1, 4, 128, 128) and len(sigmas) == 8
    assert len(node.RETURN_TYPES) == 2
