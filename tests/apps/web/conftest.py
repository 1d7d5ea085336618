"""The page as a visitor has it: a server with the bundled model, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

import redilate
from redilate.apps.web.server import serving

from .chromium import chromium


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the page is, served with the bundled model."""
    pipe = redilate.load()
    pipe.set_progress_bar_config(disable=True)
    with serving(pipe, "bundled", port=0, examples=["a red apple"], measure=False) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with chromium() as browser:
        yield browser
