"""A Chromium to test with: Playwright's own, or one that is installed; a test without one is skipped and says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Playwright, sync_playwright

INSTALLED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; `REDILATE_CHROMIUM` names its executable where it lies elsewhere."""
    with sync_playwright() as playwright:
        executable = _executable(playwright)
        if executable is None:
            pytest.skip(
                "no Chromium is here: `playwright install chromium` or `apt install chromium` brings one"
            )
        try:
            # In a container without user namespaces Chromium's sandbox can't start; the page is our own.
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"{executable} does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


def _executable(playwright: Playwright) -> str | None:
    named = os.environ.get("REDILATE_CHROMIUM")
    if named:
        return named
    own = Path(playwright.chromium.executable_path)
    return str(own) if own.exists() else next(filter(None, map(shutil.which, INSTALLED)), None)
