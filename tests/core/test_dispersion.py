"""The dispersion matrix against its published figures and against plain least squares."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from redilate import dispersion_matrix
from redilate.core.dispersion import disperse


def test_published_matrix():
    matrix = dispersion_matrix(small=3, large=5, scale=2, input_size=3, eta=0.05)
    assert matrix.shape == (25, 9) and matrix.dtype == np.float64
    assert matrix.sum() == pytest.approx(9.7523, abs=5e-5)
    columns = [1.127, 1.061, 1.127, 1.061, 1.000, 1.061, 1.127, 1.061, 1.127]
    np.testing.assert_allclose(matrix.sum(0), columns, atol=5e-4)


def objective(matrix, n, scale, eta):
    """The two squared terms for every tap, over every unit impulse, written with torch's own operations."""
    impulses = torch.eye(n * n, dtype=torch.float64).reshape(-1, 1, n, n)
    side = scale * (n - 1) + 1
    large = 2 * scale + 1

    def enlarge(features):
        return F.interpolate(features, size=(side, side), mode="bilinear", align_corners=True)

    total = torch.zeros((), dtype=torch.float64)
    for tap in range(9):
        small = torch.zeros(9, dtype=torch.float64)
        small[tap] = 1
        small = small.reshape(1, 1, 3, 3)
        big = matrix[:, tap].reshape(1, 1, large, large)
        plain = F.conv2d(impulses, small, padding=1)
        structure = enlarge(plain) - F.conv2d(enlarge(impulses), big, padding=large // 2)
        pixel = plain - F.conv2d(impulses, big, padding=large // 2)
        total = total + structure.square().sum() + eta**2 * pixel.square().sum()
    return total


@pytest.mark.parametrize(("n", "scale"), [(3, 2), (5, 2), (4, 3)])
def test_matrix_is_the_minimum_of_the_equation(n, scale):
    matrix = torch.tensor(dispersion_matrix(3, 2 * scale + 1, scale, n, 0.05).copy(), requires_grad=True)
    objective(matrix, n, scale, 0.05).backward()
    assert matrix.grad.abs().max() < 1e-10


def test_a_flat_input_keeps_its_brightness_on_larger_inputs():
    def gain(n):  # the response of a flat kernel to a flat input, against the small kernel's
        return dispersion_matrix(input_size=n).sum() / 9

    assert gain(3) == pytest.approx(1.084, abs=1e-3)
    assert gain(9) == pytest.approx(1.010, abs=1e-3)


def test_one_axis_alone_can_be_dispersed():
    matrix = dispersion_matrix(3, (3, 5), (1, 2), 9).reshape(3, 5, 3, 3)
    for row in range(3):  # the height axis is untouched: a tap's weight stays in its own row
        others = np.delete(matrix[:, :, row], row, axis=0)
        assert np.abs(others).max() < 0.05 * np.abs(matrix[row, :, row]).max()


def test_disperse_multiplies_every_kernel_by_the_matrix():
    matrix = dispersion_matrix()
    weight = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    spread = disperse(weight, matrix, (5, 5))
    assert spread.shape == (4, 2, 5, 5)
    by_hand = (matrix @ weight[3, 1].numpy().ravel()).reshape(5, 5)
    np.testing.assert_allclose(spread[3, 1].numpy(), by_hand)


def test_half_precision_weights_are_multiplied_in_single():
    matrix = dispersion_matrix()
    weight = torch.randn(4, 2, 3, 3, dtype=torch.float16)
    assert torch.equal(disperse(weight, matrix, (5, 5)), disperse(weight.float(), matrix, (5, 5)).half())


def test_autocast_takes_no_precision_from_the_kernels():
    matrix, weight = dispersion_matrix(), torch.randn(4, 2, 3, 3)
    plain = disperse(weight, matrix, (5, 5))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(disperse(weight, matrix, (5, 5)), plain)


@pytest.mark.parametrize(
    "wrong",
    [{"small": 2}, {"large": 4}, {"small": 5, "large": 3}, {"input_size": 2}, {"scale": 0}, {"eta": 0}],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ValueError):
        dispersion_matrix(**wrong)
