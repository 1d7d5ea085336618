"""Dispersed convolution: a larger kernel with smaller gaps that does what the small one did.

k' = R k, where R solves ScaleCrafter's (arXiv 2310.07702) equation 6,

    min_R ‖interp_d(f_k(h)) − f_k'(interp_d(h))‖² + η ‖f_k(h) − f_k'(h)‖²   over all h:

the first term at structure level (features enlarged d times), the second at pixel level.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Sizes = int | tuple[int, int]


@lru_cache(maxsize=32)
def dispersion_matrix(
    small: Sizes = 3, large: Sizes = 5, scale: Sizes = 2, input_size: int = 3, eta: float = 0.05
) -> NDArray[np.float64]:
    """R, of shape (large_h · large_w, small_h · small_w), in float64; `large_kernel.ravel() = R @ kernel.ravel()`.

    Args:
        small, large: odd kernel sizes, one number or (height, width).
        scale: how many times features are enlarged at structure level, one number or (height, width).
        input_size: side of the inputs over which the equation is solved, at least `small`. With the published 3 a flat
            input's gain is 1.084, with 9 it is 1.010.
        eta: weight of the pixel-level equations, above 0. The squared term above carries η²: only so does the
            published matrix (ΣR = 9.7523) come out.

    Raises:
        ValueError: for even sizes, a large kernel smaller than the small one, or an input smaller than the kernel.
    """
    small, large, scale = _pair(small), _pair(large), _pair(scale)
    if any(size % 2 == 0 for size in (*small, *large)):
        raise ValueError(f"kernel sizes are odd, not {small} and {large}")
    if large[0] < small[0] or large[1] < small[1]:
        raise ValueError(f"the large kernel {large} is smaller than the small one {small}")
    if input_size < max(small):
        raise ValueError(f"input_size {input_size} is smaller than the kernel {small}")
    if min(scale) < 1 or eta <= 0:
        raise ValueError(f"scale is at least 1 and eta above 0, not {scale} and {eta}")
    impulses = np.eye(input_size * input_size).reshape(-1, input_size, input_size)
    enlarged = _enlarge(impulses, scale)
    # One column of unknowns per tap of the small kernel; one row of equations per output pixel of every impulse.
    structure = _responses(enlarged, large)
    pixel = _responses(impulses, large)
    plain = _responses(impulses, small)
    wanted_structure = np.stack([_enlarge(plain[..., tap], scale) for tap in range(plain.shape[-1])], axis=-1)
    left = np.concatenate(
        [structure.reshape(-1, structure.shape[-1]), eta * pixel.reshape(-1, pixel.shape[-1])]
    )
    right = np.concatenate(
        [wanted_structure.reshape(-1, plain.shape[-1]), eta * plain.reshape(-1, plain.shape[-1])]
    )
    matrix, *_ = np.linalg.lstsq(left, right, rcond=None)
    matrix.setflags(write=False)  # the cache hands the same array to every caller
    return matrix.astype(np.float64, copy=False)


def disperse(weight: Tensor, matrix: NDArray[np.float64] | Tensor, large: tuple[int, int]) -> Tensor:
    """The larger kernels of a convolution: (C_out, C_in / groups, k_h, k_w) to (C_out, C_in / groups, *large)."""
    out, channels = weight.shape[:2]
    # In float32 at least: entries of R cancel, which half precision would lose.
    precise = torch.promote_types(weight.dtype, torch.float32)
    spread = torch.tensor(matrix, device="cpu") if isinstance(matrix, np.ndarray) else matrix
    spread = spread.to(device=weight.device, dtype=precise)
    # autocast would compute the product in half precision.
    with torch.autocast(weight.device.type, enabled=False) if _casts(weight.device) else nullcontext():
        kernels = weight.reshape(out, channels, -1).to(precise) @ spread.T
    return kernels.reshape(out, channels, *large).to(weight.dtype)


def _casts(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def _responses(inputs: NDArray, kernel: tuple[int, int]) -> NDArray:
    """The output of each single tap of a kernel on each zero-padded input: (inputs, H, W, taps)."""
    (high, wide), (top, left) = inputs.shape[-2:], (kernel[0] // 2, kernel[1] // 2)
    padded = np.pad(inputs, ((0, 0), (top, top), (left, left)))
    shifted = [padded[:, y : y + high, x : x + wide] for y in range(kernel[0]) for x in range(kernel[1])]
    return np.stack(shifted, axis=-1)


def _enlarge(inputs: NDArray, scale: tuple[int, int]) -> NDArray:
    """Bilinear, corners aligned: (inputs, H, W) to (inputs, s_h (H - 1) + 1, s_w (W - 1) + 1)."""
    rows, columns = (
        _interpolation(size, factor) for size, factor in zip(inputs.shape[-2:], scale, strict=True)
    )
    return rows @ inputs @ columns.T


def _interpolation(size: int, scale: int) -> NDArray:
    """The (scale · (size - 1) + 1, size) matrix of linear interpolation with aligned corners."""
    positions = np.arange(scale * (size - 1) + 1) / scale
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(size)[None, :]))


def _pair(value: Sizes) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
