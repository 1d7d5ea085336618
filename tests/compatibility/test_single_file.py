"""Checkpoints of one file, as most fine-tunes come: loaded offline and re-dilated as the pipeline they were made of."""

import pytest
import torch

import redilate
from tests.compatibility.original import reads_single_files, sdxl_of_two_widths, write_with_configuration
from tests.compatibility.samples import quiet
from tests.compatibility.uses import draw, draw_damped, row
from tests.models import tiny_sd15


@row(
    "`from_single_file`",
    "Stable Diffusion and SDXL: the whole pipeline out of one file, offline; from diffusers 0.42",
)
@reads_single_files
@pytest.mark.parametrize("make", [tiny_sd15, sdxl_of_two_widths], ids=["sd15", "sdxl"])
def test_a_pipeline_from_a_single_file_draws_what_its_original_drew(make, tmp_path):
    pipe = quiet(make())
    file, configuration = write_with_configuration(pipe, tmp_path)
    loaded = quiet(redilate.load(file, config=configuration, device="cpu"))
    assert type(loaded) is type(pipe)
    for name, value in pipe.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], value), name
    assert torch.allclose(draw(loaded), draw(pipe), atol=1e-4)
    ours = draw_damped(pipe)
    assert torch.allclose(draw_damped(loaded), ours, atol=1e-4)
    assert not torch.allclose(ours, draw(pipe), atol=1e-2)
    pictures = [
        one.vae.decode(ours / one.vae.config.scaling_factor, return_dict=False)[0] for one in (pipe, loaded)
    ]
    assert torch.allclose(*pictures, atol=1e-4)
