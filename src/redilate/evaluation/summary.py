"""From single pictures to a row for each method: means, differences to the baseline, distances between sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .distances import Distance, frechet_distance, kernel_distance
from .measures import OF_ONE_PICTURE, Measurement
from .statistics import Interval, bootstrap, paired_difference

NATIVE = "native"
_PER_THOUSAND = 1000  # kernel distances are shown times this


@dataclass(frozen=True)
class Row:
    """One method at one size, over all prompts.

    Attributes:
        values: measure → its mean, median or distance, with an interval.
        differences: measure → the difference to the first method, paired by prompt and seed; empty for that method
            itself and for the native pictures.
    """

    size: str
    method: str
    pictures: int
    values: Mapping[str, Interval]
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class Views:
    """The features of a set of pictures: `whole` of shape (n, 1, 1280), `pieces` of shape (n, CROPS, 1280)."""

    whole: np.ndarray
    pieces: np.ndarray


@dataclass(frozen=True)
class SizeFeatures:
    """What the set distances of one size are computed from; `real` is None where there are no real pictures."""

    native: Views
    methods: Mapping[str, Views] = field(default_factory=dict)
    real: Views | None = None


def summarise(
    measurements: Sequence[Measurement], seen: Mapping[str, SizeFeatures] | None = None
) -> list[Row]:
    """One row for each size and method, in the order in which they first appear.

    The first method of a size that is not NATIVE is its baseline. `seen`: size → features, for the set distances.
    """
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for one in sorted(measurements, key=lambda one: one.seed):
        groups.setdefault(one.size, {}).setdefault(one.method, []).append(one)
    rows = []
    for size, methods in groups.items():
        baseline = next((name for name in methods if name != NATIVE), None)
        distances = {} if seen is None or size not in seen else set_distances(seen[size])
        for method, ours in methods.items():
            values = {
                measure.key: bootstrap([one.values[measure.key] for one in ours], measure.centre)
                for measure in OF_ONE_PICTURE
            }
            values |= {key: one.interval() for key, one in distances.get(method, {}).items()}
            differences = {}
            if baseline is not None and method not in (baseline, NATIVE):
                differences = _differences(ours, methods[baseline])
                differences |= {
                    key: one.minus(distances[baseline][key]) for key, one in distances.get(method, {}).items()
                }
            rows.append(Row(size, method, len(ours), values, differences))
    return rows


def set_distances(features: SizeFeatures) -> dict[str, dict[str, Distance]]:
    """Method → measure → distance; those to the real pictures for the native ones too. Empty for one picture."""
    result: dict[str, dict[str, Distance]] = {}
    if len(features.native.whole) < 2:
        return result
    for method, made in {NATIVE: features.native, **features.methods}.items():
        found = result.setdefault(method, {})
        if features.real is not None:
            found |= _both("r", features.real, made, paired=False)
        if method != NATIVE:
            found |= _both("b", features.native, made, paired=True)
    return result


def _both(letter: str, reference: Views, made: Views, *, paired: bool) -> dict[str, Distance]:
    found = {}
    for view, first, second in (
        ("", reference.whole, made.whole),
        ("crop_", reference.pieces, made.pieces),
    ):
        found[f"fid_{view}{letter}"] = frechet_distance(first, second, paired=paired)
        kernel = kernel_distance(first, second, paired=paired)
        found[f"kid_{view}{letter}"] = Distance(
            kernel.value * _PER_THOUSAND, kernel.resampled * _PER_THOUSAND
        )
    return found


def _differences(ours: list[Measurement], baseline: list[Measurement]) -> dict[str, Interval]:
    return {
        measure.key: paired_difference(
            [one.values[measure.key] for one in ours],
            [one.values[measure.key] for one in baseline],
            measure.centre,
        )
        for measure in OF_ONE_PICTURE
    }
