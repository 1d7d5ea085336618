"""A fingerprint tells weights apart, not where and how they are loaded."""

from __future__ import annotations

import torch

from redilate.apps.metadata import provenance
from redilate.pipelines.families import weights_fingerprint
from tests.models import tiny_sdxl


def test_the_same_weights_have_one_fingerprint_in_float32_and_float16():
    pipe = tiny_sdxl()
    kept = weights_fingerprint(pipe)
    assert weights_fingerprint(tiny_sdxl()) == kept
    assert weights_fingerprint(pipe.to(torch.float16)) == kept


def test_another_training_and_any_one_changed_network_have_another():
    found = {weights_fingerprint(tiny_sdxl()), weights_fingerprint(tiny_sdxl(seed=1))}
    for part in ("unet", "vae", "text_encoder_2"):
        pipe = tiny_sdxl()
        with torch.no_grad():
            next(getattr(pipe, part).parameters()).mul_(1.01)
        found.add(weights_fingerprint(pipe))
    assert len(found) == 5


def test_provenance_names_the_model_and_what_it_is_computed_in():
    said = provenance(tiny_sdxl().to(torch.bfloat16), "someone/some-model")
    assert {name: said[name] for name in ("model", "device", "dtype")} == {
        "model": "someone/some-model",
        "device": "cpu",
        "dtype": "bfloat16",
    }
