"""What a convolution takes inside itself, against what the process really grew by."""

import sys

import pytest
import torch

from redilate.core.workspace import convolution_copies, is_channels_last

FEATURES = torch.empty(2, 96, 64, 64, device="meta")
WEIGHT = torch.empty(48, 96, 3, 3, device="meta")
OUT = torch.empty(2, 48, 64, 64, device="meta")


def test_standard_order_is_copied_in_and_out_and_channels_last_is_not():
    sizes = (FEATURES.nbytes, WEIGHT.nbytes, OUT.nbytes)
    on_cpu = convolution_copies(FEATURES, WEIGHT, OUT, "cpu")
    # The copies of input and weights outweigh the output, which is not yet there.
    assert on_cpu.peak(OUT.nbytes) == sum(sizes)
    assert convolution_copies(FEATURES, WEIGHT, OUT, "cuda").peak(OUT.nbytes) == sum(sizes) + OUT.nbytes
    last = FEATURES.to(memory_format=torch.channels_last)
    assert is_channels_last(last) and not is_channels_last(FEATURES)
    for device in ("cpu", "cuda"):
        assert convolution_copies(last, WEIGHT, OUT, device).peak(OUT.nbytes) == OUT.nbytes + WEIGHT.nbytes
    assert convolution_copies(FEATURES, WEIGHT, OUT, "mps").peak(OUT.nbytes) == OUT.nbytes


def test_a_product_of_matrices_copies_no_features():
    weight = torch.empty(48, 96, 1, 1, device="meta")
    assert convolution_copies(FEATURES, weight, OUT, "cpu").peak(OUT.nbytes) == OUT.nbytes + weight.nbytes
    features, weight, out = (
        tensor.bfloat16() for tensor in (FEATURES, weight, OUT)
    )  # which has no such kernel
    copied = features.nbytes + weight.nbytes + 2 * out.nbytes
    assert convolution_copies(features, weight, out, "cpu").peak(out.nbytes) == copied


def test_few_channels_are_filled_up_to_a_block():
    latents = torch.empty(1, 4, 64, 64, device="meta")
    few, many = torch.empty(1, 3, 64, 64, device="meta"), torch.empty(1, 96, 64, 64, device="meta")
    sixteen = 16 * 64 * 64 * 4
    weight = torch.empty(3, 4, 3, 3, device="meta")
    assert convolution_copies(latents, weight, few, "cpu").peak(few.nbytes) == 2 * sixteen + weight.nbytes
    weight = torch.empty(96, 4, 3, 3, device="meta")
    assert convolution_copies(latents, weight, many, "cpu").peak(many.nbytes) == 2 * many.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is what was measured")
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels last"]
)
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_process_grows_by_as_much(layout, dilation):
    from benchmarks.workspace import grown

    conv = torch.nn.Conv2d(64, 128, 3, padding=dilation, dilation=dilation).to(memory_format=layout)
    features = torch.randn(1, 64, 512, 512).to(memory_format=layout)
    measured, out = grown(conv, features)
    assert measured == pytest.approx(
        convolution_copies(features, conv.weight, out, "cpu").peak(out.nbytes), rel=0.05
    )
