"""ND-CFG's Δ form against its equation."""

import pytest
import torch

from redilate.core.guidance import GuidanceLayout, add_delta, damping_delta
from redilate.core.patch import take_unconditional


def damp(strong, mild, layout, channels=None):
    return add_delta(strong, damping_delta(strong, mild, layout, channels), layout)


@pytest.mark.parametrize("weight", [0.0, 1.0, 7.5])
def test_guided_sum_of_damped_chunks_is_the_equation(weight):
    strong, mild = torch.randn(4, 3, 5, 5, dtype=torch.float64), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    unconditional, conditional = damp(strong, mild, GuidanceLayout()).chunk(2)
    guided = unconditional + weight * (conditional - unconditional)
    torch.testing.assert_close(guided, mild + weight * (strong[2:] - strong[:2]))


def test_three_chunks_with_the_unconditional_last():
    strong, mild = torch.randn(3, 2, 4, 4, dtype=torch.float64), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    text, image, unconditional = damp(strong, mild, GuidanceLayout(chunks=3, unconditional=2)).chunk(3)
    guided = unconditional + 7 * (text - image) + 1.5 * (image - unconditional)  # InstructPix2Pix
    plain_text, plain_image, plain_unconditional = strong.chunk(3)
    torch.testing.assert_close(
        guided, mild + 7 * (plain_text - plain_image) + 1.5 * (plain_image - plain_unconditional)
    )


def test_a_learned_variance_is_left_alone():
    strong, mild = torch.randn(2, 8, 4, 4), torch.randn(1, 8, 4, 4)
    damped = damp(strong, mild, GuidanceLayout(), channels=4)
    assert torch.equal(damped[:, 4:], strong[:, 4:]) and not torch.equal(damped[:, :4], strong[:, :4])


def test_the_unconditional_part_is_cut_out_of_every_argument():
    batch = torch.arange(4)
    tree = (
        (batch, torch.tensor(7)),
        {
            "encoder_hidden_states": torch.arange(8),  # two frames for each of the batch
            "added_cond_kwargs": {"image_embeds": [batch], "time_ids": batch},
            "residuals": (batch, batch),
            "timestep": torch.tensor([981]),
            "return_dict": False,
        },
    )
    args, kwargs = take_unconditional(tree, 4, GuidanceLayout(chunks=2, unconditional=1))
    assert args[0].tolist() == [2, 3] and args[1] == 7
    assert kwargs["encoder_hidden_states"].tolist() == [4, 5, 6, 7]
    assert kwargs["added_cond_kwargs"]["image_embeds"][0].tolist() == [2, 3]
    assert [part.tolist() for part in kwargs["residuals"]] == [[2, 3], [2, 3]]
    assert kwargs["timestep"].tolist() == [981] and kwargs["return_dict"] is False
