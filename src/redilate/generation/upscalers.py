"""The super-resolution networks by name. Without torch, so that `redilate --help` is fast."""

from typing import Literal, get_args

# For photographs; for drawings; for drawings, small and fast.
Upscaler = Literal["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3"]
UPSCALERS: tuple[Upscaler, ...] = get_args(Upscaler)

# Those with a small, fast network for each factor; the others are large and enlarge by 4.
FACTORS: dict[Upscaler, tuple[int, ...]] = {"realesr-animevideov3": (2, 3, 4)}
