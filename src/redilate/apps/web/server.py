"""Serving the page, by default to this machine only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from redilate.errors import RedilateError

from .page import page
from .pictures import MOST_BYTES
from .sessions import Backend
from .theme import CSS, theme

_SECONDS_KEPT = 24 * 3600


@contextmanager
def serving(
    pipe: Any,
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    examples: Sequence[str] = (),
    measure: bool = True,
) -> Iterator[str]:
    """A context that serves the page and yields its address.

    Uploads and pictures are in a folder that only this user can read, which is deleted at the end.

    Args:
        pipe: a pipeline, which nothing else may use.
        model: its name in pictures.
        port: 0 for any free one.
        measure: draw two steps first, for estimates of the time.

    Raises:
        RedilateError: if the pipeline has no U-Net, or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="redilate-web-", ignore_cleanup_errors=True) as folder:
        # Gradio serves files from this folder, which only the environment can set.
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        backend = Backend(pipe, model, Path(folder))
        blocks = None
        try:
            if measure:
                backend.speed.measure(pipe)
            blocks = page(backend, _device(pipe), examples)
            blocks.delete_cache = (_SECONDS_KEPT // 24, _SECONDS_KEPT)
            yield _launch(blocks, host, port)
        finally:
            backend.close()
            if blocks is not None:
                blocks.close(verbose=False)
            if before is None:
                os.environ.pop("GRADIO_TEMP_DIR", None)
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def _launch(blocks: gr.Blocks, host: str, port: int) -> str:
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port or _free_port(host),
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            share=False,
            theme=theme(),
            css_paths=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=MOST_BYTES,
            enable_monitoring=False,
        )
    except OSError as error:
        raise RedilateError(f"can't listen on {host}:{port}: another program may; try --port 0") from error
    return address


def _free_port(host: str) -> int:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.bind((host, 0))
        return trial.getsockname()[1]


def _device(pipe: Any) -> str:
    import torch

    device = pipe.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
