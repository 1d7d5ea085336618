"""Detail told from noise by its local power."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d

_WINDOW = 5  # side in pixels of the neighbourhood whose power is taken


def shrink_noise(values: Tensor, floor: float) -> Tensor:
    """The local Wiener filter of a signal of mean 0 in white noise of deviation `floor`.

    Each value is multiplied by max(0, 1 − floor² / P), P the mean square of all channels over 5×5 pixels around it
    (fewer at an edge): Lee, "Digital Image Enhancement and Noise Filtering by Use of Local Statistics", IEEE PAMI
    2(2), 1980, with the local mean taken as 0. What stands well above the floor is kept, what does not goes to 0.

    Args:
        values: floating point, of shape (batch, channels, height, width).
        floor: at least 0, in the values' own unit; 0 returns them as they are.
    """
    if floor == 0:
        return values
    # float32: bfloat16 has no digits for a difference of powers.
    squares = values.float().square().mean(dim=1, keepdim=True)
    power = avg_pool2d(squares, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)
    # No smaller than the floor's own power: the share kept is then 0, and nothing is divided by 0.
    kept = 1 - floor**2 / power.clamp(min=floor**2)
    return (values * kept).to(values.dtype)
