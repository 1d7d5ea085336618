"""Re-dilation against plain, slow code in float64."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from redilate.core.conv import nearest_half, redilated_conv2d, redilated_padding, validate_dilation

PLAIN = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def slow_redilated(x, weight, bias, stride, padding, dilation, factor):
    """Every output pixel as a sum over taps, each read at its (fractional) place by bilinear interpolation."""
    _, _, height, width = x.shape
    k_h, k_w = weight.shape[2:]
    out_h = (height + 2 * padding[0] - dilation[0] * (k_h - 1) - 1) // stride[0] + 1
    out_w = (width + 2 * padding[1] - dilation[1] * (k_w - 1) - 1) // stride[1] + 1

    def read(y, x_):
        total = 0.0
        for whole_y, whole_x in itertools.product(
            (math.floor(y), math.floor(y) + 1), (math.floor(x_), math.floor(x_) + 1)
        ):
            share = max(0, 1 - abs(y - whole_y)) * max(0, 1 - abs(x_ - whole_x))
            if share and 0 <= whole_y < height and 0 <= whole_x < width:
                total = total + share * x[:, :, whole_y, whole_x]
        return total

    out = torch.zeros(x.shape[0], weight.shape[0], out_h, out_w, dtype=x.dtype)
    for row, column in itertools.product(range(out_h), range(out_w)):
        # The kernel's centre stays where the plain convolution has it; its taps move away from there.
        centre_y = row * stride[0] - padding[0] + dilation[0] * (k_h - 1) / 2
        centre_x = column * stride[1] - padding[1] + dilation[1] * (k_w - 1) / 2
        for i, j in itertools.product(range(k_h), range(k_w)):
            y = centre_y + dilation[0] * factor[0] * (i - (k_h - 1) / 2)
            x_ = centre_x + dilation[1] * factor[1] * (j - (k_w - 1) / 2)
            value = read(y, x_)
            if isinstance(value, torch.Tensor):
                out[:, :, row, column] += value @ weight[:, :, i, j].T
    return out + bias.view(1, -1, 1, 1)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 1), (5, 5), (3, 5)])
@pytest.mark.parametrize("factor", [(1.5, 1.5), (2.5, 2), (3, 1.5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_other_kernels_equal_the_slow_sum_too(kernel, factor, stride):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 12, 11, dtype=torch.float64)
    weight, bias = torch.randn(2, 2, *kernel, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    shape = {"stride": stride, "padding": (kernel[0] // 2, kernel[1] // 2), "dilation": (1, 1)}
    fast = redilated_conv2d(x, weight, bias, groups=1, factor=factor, **shape)
    torch.testing.assert_close(fast, slow_redilated(x, weight, bias, factor=factor, **shape))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("factor", [(1.5, 1.5), (2, 2.5)])
def test_half_way_taps_are_the_mixture_of_whole_dilations(mode, factor):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 16, 14, dtype=torch.float64), torch.randn(6, 2, 3, 3, dtype=torch.float64)

    def at(height, width):
        shape = PLAIN | {"groups": 2, "padding_mode": mode}
        return redilated_conv2d(x, weight, None, factor=(height, width), **shape)

    around = [(math.floor(axis), math.ceil(axis)) for axis in factor]
    mixture = sum(at(*whole) for whole in itertools.product(*around)) / 4
    torch.testing.assert_close(at(*factor), mixture)


@pytest.mark.parametrize("factor", [(1.5, 1.5), (2.25, 1.5), (1.5, 2), (3, 2.75), (1.9, 1.1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
@pytest.mark.parametrize("channels", [1, 4, 7])
def test_by_channels_each_has_the_whole_dilation_above_or_below(factor, stride, channels):
    torch.manual_seed(0)
    x = torch.randn(2, channels, 9, 8, dtype=torch.float64)
    weight = torch.randn(4, channels, 3, 3, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    shape = {"stride": stride, "padding": (1, 1), "dilation": (1, 1)}
    expected = bias.view(1, -1, 1, 1)
    for channel in range(channels):
        # The first channels below, the last above; each axis by its own share.
        whole = [
            math.ceil(axis) if channel >= round(channels * (1 - axis % 1)) else math.floor(axis)
            for axis in factor
        ]
        one = slice(channel, channel + 1)
        expected = expected + slow_redilated(
            x[:, one], weight[:, one], torch.zeros(4).double(), factor=whole, **shape
        )
    ours = redilated_conv2d(x, weight, bias, groups=1, factor=factor, fractional="channels", **shape)
    torch.testing.assert_close(ours, expected)


def test_by_channels_of_a_grouped_convolution_is_by_taps():
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(4, 1, 3, 3)
    grouped = PLAIN | {"groups": 4, "factor": (1.5, 2.5)}
    ours = redilated_conv2d(x, weight, None, fractional="channels", **grouped)
    assert torch.equal(ours, redilated_conv2d(x, weight, None, fractional="taps", **grouped))


@pytest.mark.parametrize("fractional", ["taps", "channels"])
def test_gradients_pass_through_halves(fractional):
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((1, 4, 5, 5), (2, 4, 3, 3), (2,))
    )
    assert torch.autograd.gradcheck(
        lambda *tensors: redilated_conv2d(*tensors, factor=(1.5, 2.5), fractional=fractional, **PLAIN),
        (x, weight, bias),
    )


def test_half_way_means_do_not_overflow_in_float16():
    x = torch.full((1, 1, 8, 8), 60000.0, dtype=torch.float16)
    weight = torch.full((1, 1, 3, 3), 1e-3, dtype=torch.float16)
    assert redilated_conv2d(x, weight, None, factor=(1.5, 1.5), **PLAIN).isfinite().all()


@pytest.mark.parametrize(
    "factor", [(1, 1), (2, 2), (3, 3), (2, 4), (1, 3), (1.5, 1.5), (2.5, 2.5), (1, 1.25), (2, 3.75)]
)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("base", [1, 2])
def test_equals_slow_sum_over_taps(factor, stride, base):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    weight, bias = torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    shape = {"stride": stride, "padding": (base, base), "dilation": (base, base)}
    fast = redilated_conv2d(x, weight, bias, groups=1, factor=factor, **shape)
    torch.testing.assert_close(fast, slow_redilated(x, weight, bias, factor=factor, **shape))


def test_factor_one_is_the_plain_convolution_bit_for_bit():
    x, weight = torch.randn(1, 4, 11, 7), torch.randn(4, 4, 3, 3)
    assert torch.equal(
        redilated_conv2d(x, weight, None, factor=(1, 1), **PLAIN), F.conv2d(x, weight, padding=1)
    )


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(5, 33), st.integers(5, 33)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    factor=st.tuples(st.sampled_from([1, 1.5, 2, 2.5, 3, 4]), st.sampled_from([1, 1.25, 2, 3, 4])),
    fractional=st.sampled_from(["taps", "channels", "published"]),
)
def test_output_size_is_always_the_plain_one(size, kernel, stride, padding, dilation, factor, fractional):
    reach = [dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)]
    if any(size[axis] + 2 * padding[axis] < reach[axis] for axis in (0, 1)):
        return  # the plain convolution itself has no output
    x, weight = torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel)
    plain = F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)
    ours = redilated_conv2d(
        x,
        weight,
        None,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=1,
        factor=factor,
        fractional=fractional,
    )
    assert ours.shape == plain.shape


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_other_padding_modes_extend_the_picture_their_own_way(mode):
    x, weight = torch.randn(1, 2, 12, 12, dtype=torch.float64), torch.randn(2, 2, 3, 3, dtype=torch.float64)
    ours = redilated_conv2d(x, weight, None, factor=(2, 3), padding_mode=mode, **PLAIN)
    by_hand = F.conv2d(F.pad(x, (3, 3, 2, 2), mode=mode), weight, dilation=(2, 3))
    torch.testing.assert_close(ours, by_hand)


def test_groups_are_kept():
    x, weight = torch.randn(1, 4, 9, 9, dtype=torch.float64), torch.randn(4, 1, 3, 3, dtype=torch.float64)
    ours = redilated_conv2d(x, weight, None, factor=(2, 2), **(PLAIN | {"groups": 4}))
    torch.testing.assert_close(ours, F.conv2d(x, weight, padding=2, dilation=2, groups=4))


def test_fractional_taps_leave_an_identity_kernel_the_identity_and_the_published_form_blurs_it():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 256, 256)
    identity = torch.zeros(1, 1, 3, 3)
    identity[0, 0, 1, 1] = 1

    def error(fractional):
        ours = redilated_conv2d(x, identity, None, factor=(2.5, 2.5), fractional=fractional, **PLAIN)
        return ((ours - x).norm() / x.norm()).item()

    assert error("taps") < 1e-6
    assert error("published") == pytest.approx(0.545, abs=0.01)


@pytest.mark.parametrize(
    ("factor", "enlarged"),  # 10 × 15, times ⌈d⌉ / d on each axis
    [
        ((2.5, 2.5), (12, 18)),
        ((1.5, 2.5), (13, 18)),
        ((3.5, 1.5), (11, 20)),
        ((2, 1.5), (10, 20)),
        ((2.5, 1), (12, 15)),
    ],
)
@pytest.mark.parametrize(("stride", "output"), [((1, 1), (10, 15)), ((2, 2), (5, 8)), ((1, 2), (10, 8))])
def test_published_form_is_its_equation(factor, enlarged, stride, output):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 2, 10, 15, dtype=torch.float64), torch.randn(3, 2, 3, 3, dtype=torch.float64)
    settings = PLAIN | {"stride": stride}
    ours = redilated_conv2d(x, weight, None, factor=factor, fractional="published", **settings)
    spread = (math.ceil(factor[0]), math.ceil(factor[1]))
    stretched = F.interpolate(x, size=enlarged, mode="bilinear", align_corners=False)
    wide = F.conv2d(stretched, weight, stride=stride, padding=spread, dilation=spread)
    torch.testing.assert_close(ours, F.interpolate(wide, size=output, mode="bilinear", align_corners=False))


def test_padding_keeps_the_centre_tap_of_an_odd_kernel():
    assert redilated_padding(kernel=3, padding=1, dilation=1, redilated=4) == (4, 4)
    assert redilated_padding(kernel=3, padding=0, dilation=1, redilated=2) == (1, 1)
    assert redilated_padding(kernel=4, padding=1, dilation=1, redilated=2) == (2, 3)


@pytest.mark.parametrize("factor", [(0.5, 1), (1, math.inf), (1, math.nan), (1,)])
def test_impossible_factors_are_refused(factor):
    with pytest.raises(ValueError, match="at least 1"):
        validate_dilation(factor)


@pytest.mark.parametrize(
    ("dilation", "half"),
    [(0.3, 1), (1, 1), (1.24, 1), (1.25, 1), (1.26, 1.5), (1.74, 1.5), (1.75, 2), (2.25, 2), (2.5, 2.5)],
)
def test_dilations_go_to_the_nearest_half_and_from_between_two_to_the_whole_one(dilation, half):
    assert nearest_half(dilation) == half
    assert nearest_half(dilation + 1e-12) == nearest_half(dilation - 1e-12) == half


@pytest.mark.parametrize(("device", "form", "calls"), [
    ("cpu", "taps", 12), ("meta", "taps", 4), ("cpu", "channels", 2), ("meta", "channels", 2),
])  # fmt: skip
def test_input_channels_are_cut_and_slices_read_in_place_on_a_cpu_alone(monkeypatch, device, form, calls):
    """Other devices want one large convolution, and slices laid out as the whole."""
    from redilate.core import conv

    seen, own = [], conv.F.conv2d
    monkeypatch.setattr(conv.F, "conv2d", lambda input, *rest: seen.append(input) or own(input, *rest))
    features = torch.randn(2, 24, 16, 16, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(8, 24, 3, 3, device=device)
    settings = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    redilated_conv2d(features, weight, None, factor=(1.5, 1.5), fractional=form, **settings)
    assert len(seen) == calls
    if form == "channels":
        dense = all(one.is_contiguous(memory_format=torch.channels_last) for one in seen)
        assert dense is (device != "cpu")
