"""The super-resolution networks by name; `Hires.enlarge` also takes the file of another.

Nothing of torch's weight is imported here, so that `redilate --help` can list them.
"""

from typing import Literal, get_args

# For photographs; for drawings; for drawings, small and fast.
Upscaler = Literal["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3"]
UPSCALERS: tuple[Upscaler, ...] = get_args(Upscaler)

# Those that come as a small, fast network for each factor, and not as a large one for four times the side.
FACTORS: dict[Upscaler, tuple[int, ...]] = {"realesr-animevideov3": (2, 3, 4)}
