"""The pictures of a study on disk: each made once, kept with what it was asked for, and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo
from torch import nn

from ..atomic import replacing
from ..errors import RedilateError
from ..pipelines.families import unet_of
from ..rivals.registry import find as find_method
from .cost import Cost, Meter
from .variation import Variation

_KEY = "redilate-study"  # the PNG's text entry that holds the request and the cost


@dataclass(frozen=True)
class Request:
    """Everything that decides how a picture looks.

    Attributes:
        method: its name in `rivals.registry`.
        model: the weights' fingerprint.
        variation: the method's settings, where they are not its own defaults.
        drawing: for our own methods how the picture is made, for another's variation its settings; JSON types.
    """

    prompt: str
    seed: int
    width: int
    height: int
    method: str
    steps: int
    guidance: float
    model: str
    variation: Variation | None = None
    drawing: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The request as JSON types."""
        variation = None if self.variation is None else self.variation.model_dump(mode="json")
        return {**asdict(self), "variation": variation}

    def differences(self, kept: dict[str, Any]) -> list[str]:
        """The fields in which `kept`, an earlier request as JSON, is not this one."""
        own = json.loads(json.dumps(self.as_json()))
        # What was drawn counts, and not in which words it was asked for.
        names = [field.name for field in fields(self) if field.name != "variation"]
        return [name for name in names if own[name] != kept.get(name)]


@dataclass(frozen=True)
class Picture:
    """A finished picture and what it cost."""

    image: Image.Image
    cost: Cost


def find(request: Request, path: Path) -> Picture | None:
    """The picture at `path`, or None where there is none.

    RedilateError if it was made for another request, so that no table mixes two models, plans or step counts.
    """
    if not path.exists():
        return None
    try:
        image = PngImageFile(path)
        image.load()
        kept = json.loads(image.text[_KEY])
        cost = Cost(**kept["cost"])
    except (OSError, SyntaxError, KeyError, TypeError, ValueError) as error:
        raise RedilateError(
            f"{path} is not a picture of a study: move it away, or use another folder"
        ) from error
    other = ", ".join(request.differences(kept["request"]))
    if other:
        raise RedilateError(f"{path} was made with another {other}: delete it, or use another folder")
    return Picture(image, cost)


def make(
    pipe: DiffusionPipeline, request: Request, path: Path, on_step: Callable[[int, int], None] | None = None
) -> Picture:
    """Generate the picture and keep it at `path`, where it appears whole or not at all."""
    with Meter(unet_of(pipe), pipe._execution_device) as meter:
        result = find_method(request.method)(
            pipe,
            request.prompt,
            width=request.width,
            height=request.height,
            seed=request.seed,
            steps=request.steps,
            guidance=request.guidance,
            on_step=on_step,
            **({} if request.variation is None else request.variation.arguments()),
        )
    image = result.images[0]
    text = PngInfo()
    text.add_itxt(_KEY, json.dumps({"request": request.as_json(), "cost": meter.cost.as_json()}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=text)
    return Picture(image, meter.cost)


def fingerprint(pipe: DiffusionPipeline) -> str:
    """Sixteen hexadecimal digits that change with a pipeline's weights, their precision or its scheduler.

    Reads the first 64 values of every tensor, which any training moves, so that a large model takes no time.
    """
    scheduler = pipe.scheduler
    settings = sorted((name, value) for name, value in scheduler.config.items() if not name.startswith("_"))
    digest = hashlib.sha256(f"{type(scheduler).__name__}{settings}".encode())
    for part, module in sorted(pipe.components.items()):
        if isinstance(module, nn.Module):
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(f"{part}.{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
                # float64 holds every value of every narrower type, and NumPy has no bfloat16.
                digest.update(tensor.flatten()[:64].to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:16]
