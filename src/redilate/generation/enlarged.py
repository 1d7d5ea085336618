"""The latents that a large leg starts from: of the enlarged picture, or enlarged themselves."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ..pipelines.families import Size, latent_scale
from ..pipelines.image_to_image import encode
from .pixels import to_image, to_tensor
from .request import Enlarging
from .super_resolution import enlarged_by
from .upscalers import UPSCALERS


def enlarged_latents(pipe: Any, picture: Image.Image | Tensor, size: Size, how: Enlarging) -> Tensor:
    """The latents, (1, channels, height / 8, width / 8), of `picture` enlarged to `size` (height, width) in pixels.

    Args:
        picture: a picture, or for the enlarging of latents those of one.
    """
    height, width = size
    if how.startswith("latent-"):
        latents = picture if isinstance(picture, Tensor) else encode(pipe, picture)
        scale = latent_scale(pipe)
        mode = how.removeprefix("latent-")
        large = interpolate(latents.float(), size=(height // scale, width // scale), mode=mode)
        return large.to(latents.dtype)
    assert isinstance(picture, Image.Image)
    if how == "lanczos":
        return encode(pipe, picture.resize((width, height), Image.Resampling.LANCZOS))
    if how in UPSCALERS:
        return encode(pipe, enlarged_by(how, picture, size))
    return encode(pipe, to_image(interpolate(to_tensor(picture), size=size, mode="bicubic", antialias=True)))
