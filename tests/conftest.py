"""What every test may use. GPU tests are left out where there is no GPU; slow ones always run unless told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models import tiny_sdxl


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect `gpu` tests on a machine without CUDA: they can prove nothing there."""
    if torch.cuda.is_available():
        return
    left_out = [item for item in items if item.get_closest_marker("gpu")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def tiny_pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock StableDiffusionXLPipeline of random weights on disk, as `from_pretrained` loads it; read-only."""
    folder = tmp_path_factory.mktemp("models") / "tiny-sdxl"
    tiny_sdxl().save_pretrained(folder)
    return folder
