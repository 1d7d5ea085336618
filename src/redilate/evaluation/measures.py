"""What is measured of one large picture against its native one, and the averages over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .duplication import Repetition, compare
from .features import feature_distance
from .statistics import Interval, bootstrap_mean, paired_difference


@dataclass(frozen=True)
class Measurement:
    """One large picture of one method, against the native picture of the same prompt and seed."""

    prompt: str
    seed: int
    size: str  # "WIDTHxHEIGHT"
    method: str
    repetition: Repetition
    feature_distance: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One method at one size, over all prompts. Differences are to the baseline, None for the baseline itself."""

    size: str
    method: str
    pictures: int
    objects_native: float
    objects_large: float
    repeated: Interval  # share of pictures in [0, 1] that show more objects than their native ones
    repeated_difference: Interval | None
    same_count: float  # share of pictures in [0, 1] that show as many objects as their native ones
    feature_distance: Interval
    feature_difference: Interval | None
    seconds: float


def measure(
    native: Image.Image, large: Image.Image, *, prompt: str, seed: int, method: str, seconds: float
) -> Measurement:
    """Compare a large picture, which took `seconds` to make, with the native picture of its prompt and seed."""
    size = f"{large.width}x{large.height}"
    distance = feature_distance(native, large)
    return Measurement(prompt, seed, size, method, compare(native, large), distance, seconds)


def summarise(measurements: Sequence[Measurement]) -> list[Row]:
    """One row for each size and method, in the order in which they first appear.

    The first method of a size is its baseline, to which the others are compared, paired by seed.
    """
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for one in sorted(measurements, key=lambda one: one.seed):
        groups.setdefault(one.size, {}).setdefault(one.method, []).append(one)
    return [
        _row(size, method, ours, next(iter(methods.values())))
        for size, methods in groups.items()
        for method, ours in methods.items()
    ]


def _row(size: str, method: str, ours: list[Measurement], baseline: list[Measurement]) -> Row:
    repeated, distances = _repeated(ours), _distances(ours)
    differs = method != baseline[0].method
    return Row(
        size=size,
        method=method,
        pictures=len(ours),
        objects_native=float(np.mean([one.repetition.components_native for one in ours])),
        objects_large=float(np.mean([one.repetition.components_large for one in ours])),
        repeated=bootstrap_mean(repeated),
        repeated_difference=paired_difference(repeated, _repeated(baseline)) if differs else None,
        same_count=float(np.mean([one.repetition.excess == 0 for one in ours])),
        feature_distance=bootstrap_mean(distances),
        feature_difference=paired_difference(distances, _distances(baseline)) if differs else None,
        seconds=float(np.mean([one.seconds for one in ours])),
    )


def _repeated(measurements: list[Measurement]) -> list[float]:
    return [float(one.repetition.repeated) for one in measurements]


def _distances(measurements: list[Measurement]) -> list[float]:
    return [one.feature_distance for one in measurements]
