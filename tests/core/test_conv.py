"""The exchanged convolution: what it computes, and that it leaves no trace."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from redilate.core.band_limit import band_limited
from redilate.core.conv import Dispersion, exchange, restore, set_dilation
from redilate.core.dispersion import disperse, dispersion_matrix


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return nn.Conv2d(4, 6, 3, padding=1)


@pytest.fixture
def x():
    return torch.randn(2, 4, 17, 13, generator=torch.Generator().manual_seed(1))


def test_exchanged_and_neutral_is_the_original_bit_for_bit(conv, x):
    before = conv(x)
    exchange(conv, None, "taps")
    assert torch.equal(conv(x), before)


def test_factor_spreads_the_taps(conv, x):
    exchange(conv, None, "taps")
    set_dilation(conv, (2, 3))
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=(2, 3), dilation=(2, 3)))


def test_attributes_that_lora_copies_never_change(conv):
    exchange(conv, None, "taps")
    set_dilation(conv, (4, 4))
    assert (conv.stride, conv.padding, conv.dilation, conv.kernel_size) == ((1, 1), (1, 1), (1, 1), (3, 3))


def test_restore_leaves_no_trace(conv, x):
    before, attributes = conv(x), set(conv.__dict__)
    exchange(conv, Dispersion(), "taps")
    set_dilation(conv, (2, 2))
    conv(x)
    restore(conv)
    assert type(conv) is nn.Conv2d and set(conv.__dict__) == attributes
    assert torch.equal(conv(x), before)
    restore(conv)  # a second time does nothing
    assert type(conv) is nn.Conv2d


def test_a_network_without_data_leaves_nothing_to_one_that_has_some(conv, x):
    """Memory is counted on torch's meta device, with that as the default for what a network makes on its way."""
    settings = Dispersion(input_size=7)  # of no other test: its kernels are not worked out yet
    with torch.device("meta"):
        hollow = nn.Conv2d(4, 6, 3, padding=1)
        exchange(hollow, settings, "taps")
        set_dilation(hollow, (2, 2))
        assert hollow(torch.empty(2, 4, 17, 13)).shape == (2, 6, 17, 13)
    exchange(conv, settings, "taps")
    set_dilation(conv, (2, 2))
    assert conv(x).isfinite().all()


def test_a_librarys_own_conv_keeps_its_methods_and_gets_its_class_back(x):
    class Scaled(nn.Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    conv = Scaled(4, 6, 3, padding=1)
    exchange(conv, None, "taps")
    set_dilation(conv, (2, 2))
    torch.testing.assert_close(conv(x), 2 * F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2))
    restore(conv)
    assert type(conv) is Scaled


@pytest.mark.parametrize(
    ("factor", "large", "padding", "dilation"),
    [((2, 2), (5, 5), (2, 2), (1, 1)), ((4, 4), (5, 5), (4, 4), (2, 2)), ((2, 1), (5, 3), (2, 1), (1, 1)),
     ((4, 3), (5, 3), (4, 3), (2, 3))],
)  # fmt: skip
def test_dispersion_takes_the_reach_of_the_dilation_it_stands_for(conv, x, factor, large, padding, dilation):
    exchange(conv, Dispersion(scale=2, input_size=5), "taps")
    set_dilation(conv, factor)
    scale = tuple((size - 1) // 2 for size in large)
    weight = disperse(conv.weight, dispersion_matrix((3, 3), large, scale, 5, 0.05), large)
    by_hand = F.conv2d(x, weight, conv.bias, padding=padding, dilation=dilation)
    torch.testing.assert_close(conv(x), by_hand)


def test_dispersion_stands_aside_where_its_scale_does_not_divide_the_dilation(conv, x):
    exchange(conv, Dispersion(scale=2), "taps")
    set_dilation(conv, (3, 3))
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=3, dilation=3))


def test_a_low_passed_convolution_reads_the_features_without_their_fast_waves(x):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    exchange(conv, None, "taps", low_pass=True)
    before = conv(x)
    set_dilation(conv, (4, 2))
    # The stride of 2 keeps half of the band already, so that along the width nothing is left to do.
    slow = band_limited(x, (2.0, 1.0))
    wanted = F.conv2d(slow, conv.weight, conv.bias, stride=2, padding=(4, 2), dilation=(4, 2))
    torch.testing.assert_close(conv(x), wanted)
    set_dilation(conv, (1, 1))
    assert torch.equal(conv(x), before)


def test_a_dispersed_kernel_follows_its_weight(conv, x):
    exchange(conv, Dispersion(), "taps")
    set_dilation(conv, (2, 2))
    with torch.no_grad():
        first = conv(x)
        assert torch.equal(conv(x), first)
        conv.weight.mul_(2)
        second = conv(x)
        torch.testing.assert_close(
            second - conv.bias.view(1, -1, 1, 1), 2 * (first - conv.bias.view(1, -1, 1, 1))
        )
        version = conv.weight._version
        conv.weight.data += conv.weight.data  # as a LoRA is merged: no version counts it
        assert conv.weight._version == version
        torch.testing.assert_close(
            conv(x) - conv.bias.view(1, -1, 1, 1), 4 * (first - conv.bias.view(1, -1, 1, 1))
        )
        conv.weight = nn.Parameter(torch.zeros_like(conv.weight))
        torch.testing.assert_close(conv(x), conv.bias.view(1, -1, 1, 1).expand_as(second))


def test_a_dispersed_kernel_is_not_kept_between_calls(conv, x):
    exchange(conv, Dispersion(), "taps")
    set_dilation(conv, (2, 2))
    before = set(conv.__dict__)
    with torch.no_grad():
        conv(x)
    assert set(conv.__dict__) == before


def test_gradients_reach_the_weight_through_dispersion(conv, x):
    exchange(conv, Dispersion(), "taps")
    set_dilation(conv, (2, 2))
    conv(x).sum().backward()
    assert conv.weight.grad.abs().sum() > 0


def test_dispersed_kernels_work_on_inference_tensors(x):
    with torch.inference_mode():
        conv = nn.Conv2d(4, 6, 3, padding=1)
        exchange(conv, Dispersion(), "taps")
        set_dilation(conv, (2, 2))
        assert conv(x).shape == (2, 6, 17, 13)


def test_a_deep_copy_is_re_dilated_on_its_own(conv, x):
    exchange(conv, None, "taps")
    set_dilation(conv, (2, 2))
    twin = copy.deepcopy(conv)
    set_dilation(conv, (1, 1))
    torch.testing.assert_close(twin(x), F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_in_words_is_understood(x, padding):
    conv = nn.Conv2d(4, 6, 3, padding=padding)
    plain = conv(x)
    exchange(conv, None, "taps")
    set_dilation(conv, (2, 2))
    assert conv(x).shape == plain.shape
