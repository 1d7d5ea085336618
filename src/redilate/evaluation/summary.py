"""A row for each method: means, differences to the baseline, distances between sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .distances import Distance, frechet_distance, kernel_distance
from .measures import OF_ONE_PICTURE, Measurement
from .statistics import Interval, bootstrap, paired_difference

NATIVE = "native"


@dataclass(frozen=True)
class Row:
    """One method at one size, over all prompts."""

    size: str
    method: str
    pictures: int
    values: Mapping[str, Interval]  # measure → its mean, median or distance
    # Measure → the difference to the first method, paired by prompt and seed; empty for that method and native ones.
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class Views:
    """The features of a set of pictures: `whole` of shape (n, 1, 1280), `pieces` of shape (n, CROPS, 1280)."""

    whole: np.ndarray
    pieces: np.ndarray


@dataclass(frozen=True)
class SizeFeatures:
    """The features of one size for the set distances; `real` is None without real pictures."""

    native: Views
    methods: Mapping[str, Views] = field(default_factory=dict)
    real: Views | None = None


def summarise(measurements: Sequence[Measurement], seen: Mapping[str, SizeFeatures] = {}) -> list[Row]:
    """One row for each size and method, in their order; the first method of a size but NATIVE is its baseline.

    `seen`: size → features, for the set distances.
    """
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for one in sorted(measurements, key=lambda one: one.seed):
        groups.setdefault(one.size, {}).setdefault(one.method, []).append(one)
    rows = []
    for size, methods in groups.items():
        baseline = next((name for name in methods if name != NATIVE), NATIVE)
        distances = set_distances(seen[size]) if size in seen else {}
        for method, ours in methods.items():
            compared = method not in (baseline, NATIVE)
            values, differences = {}, {}
            for measure in OF_ONE_PICTURE:
                found, usual = (
                    [one.values[measure.key] for one in pictures] for pictures in (ours, methods[baseline])
                )
                values[measure.key] = bootstrap(found, measure.centre)
                if compared:
                    differences[measure.key] = paired_difference(found, usual, measure.centre)
            for key, distance in distances.get(method, {}).items():
                values[key] = distance.interval()
                if compared:
                    differences[key] = distance.minus(distances[baseline][key])
            rows.append(Row(size, method, len(ours), values, differences))
    return rows


def set_distances(features: SizeFeatures) -> dict[str, dict[str, Distance]]:
    """Method → measure → distance; for the native pictures only those to real ones. Empty for one picture."""
    result: dict[str, dict[str, Distance]] = {}
    if len(features.native.whole) < 2:
        return result
    for method, made in {NATIVE: features.native, **features.methods}.items():
        result[method] = {}
        for letter, reference in (("r", features.real), ("b", features.native)):
            if reference is None or reference is made:
                continue
            paired = letter == "b"  # the native picture of the same prompt and seed
            for view, one, other in (
                (letter, reference.whole, made.whole),
                (f"crop_{letter}", reference.pieces, made.pieces),
            ):
                result[method][f"fid_{view}"] = frechet_distance(one, other, paired=paired)
                kernel = kernel_distance(one, other, paired=paired)
                result[method][f"kid_{view}"] = Distance(1000 * kernel.value, 1000 * kernel.resampled)
    return result
