"""Measurements of a study that never ran, for what is computed from them and written about them."""

from __future__ import annotations

from redilate.evaluation.measures import OF_ONE_PICTURE, Measurement


def measured(
    seed: int, method: str, objects: int = 1, distance: float = 1.0, size: str = "512x512", **other: float
) -> Measurement:
    """One picture whose native one has one object; every value that is not given is 2."""
    values = {measure.key: 2.0 for measure in OF_ONE_PICTURE}
    values |= {
        "objects": float(objects),
        "repeated": float(objects > 1),
        "same_count": float(objects == 1),
        "feature_distance": distance,
        **other,
    }
    return Measurement(f"prompt {seed}", seed, size, method, values)
