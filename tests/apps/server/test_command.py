"""`redilate serve` as a process of its own: up, signalled, down."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from redilate.apps.main import main

COMMAND = [sys.executable, "-m", "redilate", "serve"]


@pytest.mark.slow
def test_the_command_serves_and_at_sigterm_finishes_what_it_draws(tiny_pipeline_folder: Path, tmp_path: Path):
    (tmp_path / "keys").write_text("a-key-in-a-file\n")
    asked = [
        "--port",
        0,
        "--host",
        "0.0.0.0",
        "--model",
        tiny_pipeline_folder,
        "--api-key-file",
        tmp_path / "keys",
    ]
    pipes: Any = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, *map(str, asked)], **pipes) as server:
        assert server.stderr is not None and server.stdout is not None
        said = ""
        while (found := re.search(r"tiny-sdxl is served at http://0\.0\.0\.0:(\d+)/v1", said)) is None:
            line = server.stderr.readline()
            assert line, said
            said += line
        root = f"http://127.0.0.1:{found[1]}"
        http = httpx.Client(base_url=root, headers={"Authorization": "Bearer a-key-in-a-file"}, timeout=120)
        while not _is_up(http):
            time.sleep(0.1)
        assert httpx.get(f"{root}/v1/models").status_code == 401
        assert http.get("/v1/models").json()["data"][0]["id"] == "tiny-sdxl"
        body = {"prompt": "x", "size": "64x64", "steps": 60, "stream": True}
        with http.stream("POST", "/v1/images/generations", json=body) as answer:
            while not http.get("/healthz").json()["drawing"]:
                time.sleep(0.02)
            server.send_signal(signal.SIGTERM)
            assert "image_generation.completed" in answer.read().decode()
        http.close()
        assert server.wait(60) == 0
        rest = server.stderr.read()
        assert "1 being drawn, 0 waiting" in rest and "the one being drawn was finished" in rest
        assert server.stdout.read() == ""


def _is_up(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], ("'0.0.0.0'", "REDILATE_API_KEYS", "--insecure")),
        (["--host", "203.0.113.1", "--insecure"], ("cannot listen on 203.0.113.1",)),
        (["--api-key-file", "no-such-file"], ("no-such-file",)),
        (["--model", "no/such/model", "--port", "0"], ("no/such/model",)),
        (["--cors", "example.com"], ("origin 'example.com'", "https://example.com")),
        (["--port", "99999"], ("--port",)),
        (["--max-count", "11"], ("--max-count",)),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_refused_in_one_line(
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("REDILATE_API_KEYS", raising=False)
    with pytest.raises(SystemExit) as ending:
        main(["serve", *arguments])
    said = capfd.readouterr().err
    assert (ending.value.code, said.count("\n")) == (2, 1)
    for word in words:
        assert word in said
