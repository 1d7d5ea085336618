"""What the tests of pipelines share: a pipeline on a device of any size, to be planned for and not to be run."""

import pytest
import torch

from redilate.pipelines import memory
from tests.models import tiny_sdxl


@pytest.fixture
def on_a_device(monkeypatch):
    """(pipe, hold): a pipeline with SDXL's widths; `hold(free)` gives the device that it is on so many free bytes.

    With a tiny one's widths the decode would take more than the U-Net.
    """
    pipe = tiny_sdxl()
    with torch.device("meta"):
        pipe.unet = type(pipe.unet).from_config(pipe.unet.config, block_out_channels=(320, 640, 1280))
    for part in (pipe.vae, pipe.text_encoder, pipe.text_encoder_2):
        part.to("meta")
    monkeypatch.setattr(memory, "execution_device", lambda _pipe: torch.device("meta"))
    return pipe, lambda free: monkeypatch.setattr(memory, "device_bytes", lambda _device: (free, 2 * free))


def untouched(width, height):
    return None
