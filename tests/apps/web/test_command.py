"""`redilate web` as it is started and ended."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

COMMAND = [sys.executable, "-m", "redilate", "web"]


@pytest.mark.slow
def test_it_serves_until_it_is_told_to_end_and_leaves_nothing(
    tiny_pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(
        [*COMMAND, "--model", tiny_pipeline_folder, "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            found = None
            for line in process.stderr:
                if found := re.search(r"Redilate is at (http://127\.0\.0\.1:\d+/)", line):
                    break
            assert found is not None
            assert "Redilate" in httpx.get(found[1], timeout=60).text
            assert list(tmp_path.glob("redilate-web-*"))
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()  # else the `with` would wait for one that did not end
    assert not list(tmp_path.glob("redilate-web-*"))


def test_without_gradio_it_says_what_to_install():
    blocked = "import sys; sys.modules['gradio'] = None\nfrom redilate.apps.main import main\nmain(['web'])"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "redilate: the page needs Gradio; pip install 'redilate[web]' brings it\n"
