"""The measures by name, and the measuring of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from PIL import Image

from .appearance import colour_drift, grid_energy, sharpness, structural_similarity
from .cost import Cost
from .features import crops, feature_distance, features, side_by_side
from .repetition import count_objects, count_parts, palette, self_similarity
from .statistics import Centre

VERSION = 1  # raised when a measure changes, so that pictures are measured again


@dataclass(frozen=True)
class Measure:
    """One column of the results."""

    key: str  # its name in the JSON
    title: str
    # "native", "real": near the native picture's or real pictures' value.
    better: Literal["less", "more", "native", "real"]
    form: str = ".3f"  # Python's format of a value
    centre: Centre = "mean"  # over pictures


# By group, as in the tables. The first three groups have a value for each picture, the others for sets of pictures.
GROUPS: Mapping[str, tuple[Measure, ...]] = {
    "Repetition": (
        Measure("objects", "objects", "native", ".2f"),
        Measure("repeated", "repeated", "less", ".0%"),
        Measure("same_count", "same count", "more", ".0%"),
        Measure("parts", "parts", "native", ".1f"),
        Measure("broken_up", "twice the parts", "less", ".0%"),
        Measure("self_similarity", "self-similarity", "native"),
    ),
    "Structure and look": (
        Measure("feature_distance", "feature distance", "less"),
        Measure("recognised", "recognised", "more", ".0%"),
        Measure("ssim", "SSIM", "more"),
        Measure("sharpness", "sharpness, dB", "real", ".1f"),
        Measure("grid", "grid, dB", "less", ".2f"),
        Measure("colour_drift", "colour drift, ΔE", "less", ".1f"),
    ),
    "Cost": (
        # The median, because a busy machine slows single pictures.
        Measure("seconds", "s per picture", "less", ".1f", "median"),
        Measure("memory", "peak memory, MiB", "less", ".0f"),
        Measure("evaluations", "U-Net evaluations", "less", ".0f"),
    ),
    "Distance to real pictures": (
        Measure("fid_r", "FID r", "less", ".1f"),
        Measure("kid_r", "KID r ×1000", "less", ".2f"),
        Measure("fid_crop_r", "FID crop r", "less", ".1f"),
        Measure("kid_crop_r", "KID crop r ×1000", "less", ".2f"),
    ),
    "Distance to native pictures": (
        Measure("fid_b", "FID b", "less", ".1f"),
        Measure("kid_b", "KID b ×1000", "less", ".2f"),
        Measure("fid_crop_b", "FID crop b", "less", ".1f"),
        Measure("kid_crop_b", "KID crop b ×1000", "less", ".2f"),
    ),
}
OF_ONE_PICTURE = [one for group in ("Repetition", "Structure and look", "Cost") for one in GROUPS[group]]


@dataclass(frozen=True)
class Seen:
    """The values and features of one large picture."""

    # Of every measure of one picture but the cost, `recognised` and `broken_up`, which need other pictures.
    values: Mapping[str, float]
    # Float32 of shape (1 + CROPS, 1280): of the picture shrunk to the native scale, and of its crops.
    features: np.ndarray


@dataclass(frozen=True)
class Measurement:
    """One large picture of one method, against the native picture of the same prompt and seed."""

    prompt: str
    seed: int
    size: str  # "WIDTHxHEIGHT"
    method: str
    values: Mapping[str, float]  # of every measure of one picture


def measure_picture(native: Image.Image, large: Image.Image, *, scale: int, seed: int) -> Seen:
    """Measure a large picture against the native one of its prompt and seed.

    `scale` is the pipeline's pixels per latent; `seed` decides the crops' places.
    """
    reference, shrunk = side_by_side(native, large)
    objects_native, objects = count_objects(native), count_objects(large)
    period = (scale * large.height / native.height, scale * large.width / native.width)
    values = {
        "objects": objects,
        "repeated": objects > objects_native,
        "same_count": objects == objects_native,
        "parts": count_parts(shrunk, palette(native)),
        "self_similarity": self_similarity(shrunk),
        "feature_distance": feature_distance(native, large),
        "ssim": structural_similarity(native, large),
        "sharpness": sharpness(large),
        "grid": grid_energy(large, period),
        "colour_drift": colour_drift(reference, shrunk),
    }
    seen = features([shrunk, *crops(large, native.size, seed)])
    return Seen({key: float(value) for key, value in values.items()}, seen)


def enlarged(native: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The native picture on its own ground at the ratio of `size`, enlarged (Lanczos): nothing repeated, nothing
    added.
    """
    canvas, _ = side_by_side(native, Image.new("RGB", size))
    return canvas.resize(size, Image.Resampling.LANCZOS)


def with_cost(seen: Seen, cost: Cost) -> dict[str, float]:
    """All values of one picture."""
    return {**seen.values, **{key: float(value) for key, value in asdict(cost).items()}}


def is_broken_up(values: Mapping[str, float], native: Mapping[str, float]) -> bool:
    """Whether a large picture has more than twice the parts of the native one."""
    return values["parts"] > 2 * native["parts"]
