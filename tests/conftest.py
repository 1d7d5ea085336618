"""What every test may use. GPU tests are left out where there is no GPU; slow ones always run unless told."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.compatibility import table
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--write-compatibility` writes docs/compatibility.md from what passes in this run."""
    parser.addoption("--write-compatibility", action="store_true", help="write docs/compatibility.md")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which tests prove a row of the table of what works."""
    session.config.stash[table.ROWS] = table.rows_of(session.items)
    session.config.stash[table.PASSED] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Generator[None, Any, Any]:
    """Note which of them passed."""
    report = yield
    if report.when == "call" or report.failed:
        passed = item.config.stash[table.PASSED]
        passed[item.nodeid] = passed.get(item.nodeid, True) and report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table if asked to, from a complete run: a row all of whose tests passed is in it."""
    config = session.config
    if not config.option.write_compatibility:
        return
    if not table.is_complete(config, session.items):
        raise pytest.UsageError(
            "--write-compatibility needs all of tests/compatibility, and nothing left out"
        )
    rows, passed = config.stash[table.ROWS], config.stash[table.PASSED]
    unproved = {row for name, row in rows.items() if not passed.get(name)}
    table.DOCUMENT.write_text(table.render(row for row in rows.values() if row not in unproved))
