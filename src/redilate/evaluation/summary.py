"""A row for each method: means, differences to the baseline, distances between sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from .measures import GROUPS, OF_ONE_PICTURE, Measure, Measurement
from .statistics import Distance, Interval, bootstrap, frechet_distance, kernel_distance, paired_difference

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


def summarise(
    measurements: Sequence[Measurement],
    features: Mapping[str, Mapping[str, np.ndarray]] = {},
    real: Mapping[str, np.ndarray] = {},
) -> list[Row]:
    """One row for each size and method, in their order; the first method of a size but NATIVE is its baseline.

    `features` (size → method → features) and `real` (size → those of the real pictures) are for the set distances.
    """
    groups: dict[str, dict[str, list[Measurement]]] = {}
    for one in sorted(measurements, key=lambda one: one.seed):
        groups.setdefault(one.size, {}).setdefault(one.method, []).append(one)
    rows = []
    for size, methods in groups.items():
        baseline = next((name for name in methods if name != NATIVE), NATIVE)
        distances = set_distances(features[size], real.get(size)) if size in features else {}
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


def set_distances(
    features: Mapping[str, np.ndarray], real: np.ndarray | None = None
) -> dict[str, dict[str, Distance]]:
    """Method → measure → distance; for the native pictures only those to real ones. Empty for one picture.

    All features are of shape (pictures, 1 + CROPS, channels): those of the whole picture, then those of its crops.
    """
    native = features[NATIVE]
    if len(native) < 2:
        return {}
    result: dict[str, dict[str, Distance]] = {}
    for method, made in features.items():
        result[method] = {}
        for letter, reference in (("r", real), ("b", native)):
            if reference is None or reference is made:
                continue
            paired = letter == "b"  # the native picture of the same prompt and seed
            for view, part in ((letter, slice(0, 1)), (f"crop_{letter}", slice(1, None))):
                sets = reference[:, part], made[:, part]
                result[method][f"fid_{view}"] = frechet_distance(*sets, paired=paired)
                kernel = kernel_distance(*sets, paired=paired)
                result[method][f"kid_{view}"] = Distance(1000 * kernel.value, 1000 * kernel.resampled)
    return result


def by_size(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each size, in their order."""
    return {size: list(ours) for size, ours in groupby(rows, key=lambda row: row.size)}


def groups_of(rows: Sequence[Row]) -> list[tuple[str, list[Measure]]]:
    """The groups of measures, with those that `rows` have values for."""
    there = {key for row in rows for key in row.values}
    found = [(name, [one for one in measures if one.key in there]) for name, measures in GROUPS.items()]
    return [(name, measures) for name, measures in found if measures]
