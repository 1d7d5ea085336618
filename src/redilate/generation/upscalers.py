"""The super-resolution networks by name.

Nothing of torch's weight is imported here, so that `redilate --help` can list them.
"""

from typing import Literal, get_args

Upscaler = Literal["realesrgan-x4plus", "realesrgan-x4plus-anime"]
UPSCALERS: tuple[Upscaler, ...] = get_args(Upscaler)
