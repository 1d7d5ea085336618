"""What a convolution takes inside itself, against what the process really grew by."""

import sys

import pytest
import torch

from redilate.core.workspace import convolution_peak, is_channels_last

FEATURES = torch.empty(2, 96, 64, 64, device="meta")
WEIGHT = torch.empty(48, 96, 3, 3, device="meta")
OUT = torch.empty(2, 48, 64, 64, device="meta")


def test_standard_order_is_copied_in_and_out_and_channels_last_is_not():
    # On a CPU the copies of input, weights and output outweigh the output and its copy.
    assert convolution_peak(FEATURES, WEIGHT, OUT, "cpu") == FEATURES.nbytes + WEIGHT.nbytes + OUT.nbytes
    assert convolution_peak(FEATURES, WEIGHT, OUT, "cuda") == FEATURES.nbytes + WEIGHT.nbytes + 2 * OUT.nbytes
    last = FEATURES.to(memory_format=torch.channels_last)
    assert is_channels_last(last) and not is_channels_last(FEATURES)
    for device in ("cpu", "cuda"):
        assert convolution_peak(last, WEIGHT, OUT, device) == OUT.nbytes + WEIGHT.nbytes
    assert convolution_peak(FEATURES, WEIGHT, OUT, "mps") == OUT.nbytes


def test_few_channels_are_filled_up_to_a_block():
    latents = torch.empty(1, 4, 64, 64, device="meta")
    few, many = torch.empty(1, 3, 64, 64, device="meta"), torch.empty(1, 96, 64, 64, device="meta")
    sixteen = 16 * 64 * 64 * 4
    weight = torch.empty(3, 4, 3, 3, device="meta")
    assert convolution_peak(latents, weight, few, "cpu") == 2 * sixteen + weight.nbytes
    weight = torch.empty(96, 4, 3, 3, device="meta")
    assert convolution_peak(latents, weight, many, "cpu") == 2 * many.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is what was measured")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels last"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_process_grows_by_as_much(layout, dilation):
    from benchmarks.workspace import grown

    conv = torch.nn.Conv2d(64, 128, 3, padding=dilation, dilation=dilation).to(memory_format=layout)
    features = torch.randn(1, 64, 512, 512).to(memory_format=layout)
    measured, out = grown(conv, features)
    assert measured == pytest.approx(convolution_peak(features, conv.weight, out, "cpu"), rel=0.05)
