"""An early look is what the pipeline would decode, and small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import redilate
from redilate.pipelines.preview import preview
from tests.models import tiny_sdxl


def test_at_native_size_the_last_look_is_the_picture_itself():
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    looks = []
    made = redilate.generate(
        pipe,
        "apple",
        width=256,
        height=128,
        steps=2,
        on_latents=lambda latents: looks.append(preview(pipe, latents)),
    )
    assert len(looks) == 2
    assert looks[1].tobytes() == made.images[0].tobytes() != looks[0].tobytes()


def test_above_it_the_longer_side_is_the_native_one():
    assert preview(tiny_sdxl(), torch.zeros(1, 4, 64, 96)).size == (256, 168)
    assert preview(tiny_sdxl(), torch.zeros(1, 4, 512, 8)).size == (8, 256)


def test_a_decoder_that_overflows_in_float16_decodes_in_float32_and_stays_as_it_was():
    pipe = tiny_sdxl().to(torch.float16)
    pipe.vae.register_to_config(force_upcast=True)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    found = np.asarray(preview(pipe, latents), dtype=float)
    assert pipe.vae.dtype == torch.float16
    reference = tiny_sdxl()
    reference.vae.load_state_dict(pipe.vae.float().state_dict())
    assert found == pytest.approx(np.asarray(preview(reference, latents.float()), dtype=float), abs=1)


def test_normalised_latents_are_put_back_before_they_are_decoded():
    pipe = tiny_sdxl()
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = preview(pipe, latents)
    mean, deviation = [0.5, -1.0, 0.0, 2.0], [2.0, 1.0, 3.0, 0.5]
    pipe.vae.register_to_config(latents_mean=mean, latents_std=deviation)
    scale = pipe.vae.config.scaling_factor
    as_stored = (latents / scale - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(deviation).view(
        1, -1, 1, 1
    )
    again = np.asarray(preview(pipe, as_stored * scale), dtype=float)
    assert again == pytest.approx(np.asarray(plain, dtype=float), abs=1)
