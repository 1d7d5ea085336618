"""Serving the page, by default to this machine only."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from redilate.errors import RedilateError

from ..command_line import PipelineOptions
from .draw import MOST_BYTES
from .page import page
from .sessions import Backend

_SECONDS_KEPT = 24 * 3600

_SHADES = "fdf3ef fbe3da f6c5b4 efa087 e57a58 cf5230 b84425 98371e 7b2f1d 66291b 37130b"
_ACCENT = gr.themes.Color(*(f"#{shade}" for shade in _SHADES.split()))
# Gradio would load any other font from its files or from Google.
_SANS = ["ui-sans-serif", "system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]


@contextmanager
def serving(
    pipe: Any,
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    examples: Sequence[str] = (),
    options: PipelineOptions | None = None,
    measure: bool = True,
) -> Iterator[str]:
    """A context that serves the page and yields its address.

    Uploads and pictures are in a folder that only this user can read, which is deleted at the end. Nothing else may
    use `pipe`, which was loaded with `options`; `model` is its name in pictures; port 0 is any free one; `measure`
    draws two steps first, for estimates of the time.
    """
    with tempfile.TemporaryDirectory(prefix="redilate-web-", ignore_cleanup_errors=True) as folder:
        # Gradio serves files from this folder, which only the environment can set.
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        backend = Backend(pipe, model, Path(folder), options)
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
            share=False,
            theme=_theme(),
            css_paths=Path(__file__).with_name("page.css"),
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
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.bind((host, 0))
        return trial.getsockname()[1]


def _device(pipe: Any) -> str:
    device = pipe.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def _theme() -> gr.themes.Base:
    """Light and dark, by the browser's preference."""
    return gr.themes.Base(
        primary_hue=_ACCENT,
        secondary_hue=_ACCENT,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=_SANS,
        font_mono=_MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0",
        block_title_text_weight="500",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_800",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_900",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color_dark="*neutral_800",
        button_border_width="1px",
        slider_color="*primary_500",
        slider_color_dark="*primary_500",
    )
